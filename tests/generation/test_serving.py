"""The local page: its protocol, its limits, and how it looks at work."""

import base64
import contextlib
import hashlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_flan.errors import InputError
from keras_flan.generation import listening
from keras_flan.generation import serving as module
from keras_flan.generation.serving import Server
from tests.generation.fakes import (
    CHAINS,
    QUESTION,
    Streamed,
    cafeteria,
    last_first,
    make_path,
)


@contextlib.contextmanager
def serving(model, host="127.0.0.1", **settings):
    with Server(model, host, port=0, **settings) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server():
    with serving(Streamed(last_first)) as server:
        yield server


def connect(server):
    return http.client.HTTPConnection(*server.server_address[:2], timeout=20)


def post(server, body, **headers):
    """Returns the status and what was sent back, JSON line by line."""
    if isinstance(body, dict | list | None):
        body = json.dumps(body).encode()
    connection = connect(server)
    headers = {
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection.request("POST", "/ask", body, headers)
    answer = connection.getresponse()
    lines = answer.read().splitlines()
    connection.close()
    return answer.status, [json.loads(line) for line in lines]


def test_the_page_is_one_file(server):
    connection = connect(server)
    connection.request("GET", "/")
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors" in policy
    # Its own script alone may run: no other one, no handler of an event.
    [script] = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    assert f"; script-src 'sha256-{digest.decode()}'; connect" in policy
    assert policy.removesuffix("; frame-ancestors 'none'") in text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "http" not in text.replace("http-equiv", "")
    assert ' src="' not in text and "<link" not in text
    assert "$" not in text.replace("${", "")
    assert '<option value="number">' in text


def test_votes_arrive_path_by_path(server):
    asked = {"question": QUESTION, "samples": 10, "kind": "number"}
    status, events = post(server, asked)
    assert status == 200
    assert events[0] == {"state": "running"}
    assert [event["drawn"] for event in events[1:]] == list(range(1, 11))
    last = events[-1]
    assert (last["state"], last["answer"]) == ("done", "9")
    assert last["votes"] == {"9": 6, "3": 2, "29": 1}
    assert last["confidence"] == 0.6
    assert last["html"].count("<mark>") == 9
    assert "&lt;b&gt;" in last["html"]
    assert "step by step" in last["html"]
    _, events = post(server, {**asked, "mode": "direct", "samples": 1})
    assert "step by step" not in events[-1]["html"]
    assert len(events) == 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        ([], "expected keys"),
        (None, "expected keys"),
        ({}, "question: give this key, or messages"),
        ({"question": ""}, "question"),
        ({"question": 5}, "question"),
        ({"question": "x" * 8001}, "question"),
        ({"question": "x", "samples": 0}, "samples"),
        ({"question": "x", "samples": 65}, "samples"),
        ({"question": "x", "samples": "5"}, "samples"),
        ({"question": "x", "samples": True}, "samples"),
        ({"question": "x", "mode": "shout"}, "mode"),
        ({"question": "x", "kind": "numbr"}, "kind"),
        ({"question": "x", "seed": -1}, "seed"),
        ({"question": "x", "temperature": float("nan")}, "temperature"),
        ({"question": "x", "temperature": 1e9}, "temperature"),
        ({"question": "x", "max_new_tokens": 10**9}, "max_new_tokens"),
        ({"question": "x", "modes": "cot"}, "Did you mean 'mode'"),
    ],
)
def test_bad_requests_are_named(server, body, says):
    status, [answer] = post(server, body)
    assert status == 400
    assert says in answer["error"]


def test_other_refusals(server):
    asked = {"question": "x"}
    assert post(server, asked, Content_Type="text/plain")[0] == 415
    assert post(server, b" " * 200_000)[0] == 413
    assert post(server, iter([b" " * 50_000] * 4))[0] == 413  # in chunks
    for method, path, status in (
        ("GET", "/etc/passwd", 404),
        ("GET", "/../x", 404),
        ("POST", "/", 405),
        ("PUT", "/ask", 405),
    ):
        connection = connect(server)
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.status == status
        assert "error" in json.loads(answer.read())
        connection.close()
    lengths = (("-1", 400), ("x", 400), ("9" * 5000, 400), ("99999999", 413))
    for length, status in lengths:
        connection = connect(server)
        connection.putrequest("POST", "/ask")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
    # Still there.
    assert post(server, asked)[0] == 200


def test_a_request_that_does_not_arrive_is_given_up(server, monkeypatch):
    monkeypatch.setattr(listening, "PATIENCE", 0.1)
    connection = connect(server)
    connection.putrequest("POST", "/ask")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("127.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("0:0:0:0:0:0:0:1", "[::1]"),
    ],
)
def test_on_this_machine_other_sites_names_are_refused(host, url):
    asked = {"question": "x", "mode": "direct"}
    with serving(cafeteria, host) as server:
        assert server.is_local
        assert server.url == f"http://{url}:{server.server_address[1]}/"
        for name in (url, host, "LOCALHOST", "localhost:99", "127.0.0.9"):
            if name.count(":") < 2 or name.startswith("["):
                assert post(server, asked, Host=name)[0] == 200
        for name in ("evil.example", "localhost.evil.example", "", "["):
            status, [answer] = post(server, asked, Host=name)
            assert (status, answer["error"]) == (
                403,
                "this server is for localhost",
            )
        connection = connect(server)
        connection.request("GET", "/", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 403
        connection.close()


def test_other_machines_are_let_in_only_if_that_is_said(capsys):
    for host in ("0.0.0.0", "::", "0", "192.0.2.1"):
        with pytest.raises(InputError, match="--allow-remote") as error:
            Server(cafeteria, host, port=0)
        assert f"{host} can be reached from other machines" in str(error.value)
    with serving(cafeteria, "0.0.0.0", allow_remote=True) as server:
        assert not server.is_local
        assert server.url.startswith("http://127.0.0.1:")
        # A proxy may know this machine by any name.
        assert post(server, {"question": "x"}, Host="proxy.example")[0] == 200

    def load():
        raise InputError("no such model")

    for host, said in (("0.0.0.0", True), ("127.0.0.1", False)):
        with pytest.raises(InputError, match="no such model"):
            module.serve(load, host, 0, allow_remote=True)
        warned = capsys.readouterr().err
        assert ("WARNING: 0.0.0.0 is open to other machines" in warned) == said


def test_noise_and_clients_that_leave_do_no_harm(server, capfd):
    for noise in (b"\0" * 100, b"GET", b"POST /ask HTTP/1.1\r\n\r\n", b""):
        with socket.create_connection(server.server_address[:2]) as client:
            client.sendall(noise)
    assert post(server, {"question": "x"})[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_model_that_fails_says_so():
    def fails(prompts, **settings):
        yield from last_first(prompts, **{**settings, "samples": 1})
        raise ValueError("out of luck")

    with serving(Streamed(fails)) as server:
        status, events = post(server, {"question": "x", "samples": 2})
        assert status == 200
        assert events[-1] == {
            "state": "failed",
            "error": "ValueError: out of luck",
        }
        assert post(server, {"question": "x"})[1][-1]["state"] == "failed"


def test_one_generation_at_a_time():
    running, most, order = [], [], []
    go = threading.Event()

    def slow(prompts, **settings):
        running.append(prompts)
        order.append(prompts)
        most.append(len(running))
        go.wait(20)
        running.remove(prompts)
        return cafeteria(prompts, **settings)

    with serving(slow) as server:
        with ThreadPoolExecutor() as pool:
            done = []
            for i in range(4):
                asked = {"question": str(i), "mode": "direct"}
                done.append(pool.submit(post, server, asked))
                while len(server._line) <= i:
                    time.sleep(0.01)
            go.set()
        answers = [answer.result()[1] for answer in done]
    assert most == [1] * 4
    assert order == [["0"], ["1"], ["2"], ["3"]]
    assert all(events[-1]["state"] == "done" for events in answers)
    ahead = [events[0].get("ahead", 0) for events in answers]
    # The last may have taken its place and not looked ahead of it yet.
    assert ahead[:3] == [0, 1, 2] and ahead[3] in (0, 3)


@contextlib.contextmanager
def asking(server, **asked):
    """Yields the answer of a client that has not read it."""
    connection = connect(server)
    body = json.dumps({"question": "x", **asked})
    connection.request(
        "POST", "/ask", body, {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def test_a_full_line_refuses_and_who_leaves_makes_room(monkeypatch):
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    go = threading.Event()

    def slow(prompts, **settings):
        go.wait(20)
        return cafeteria(prompts, **settings)

    with serving(slow) as server, asking(server):
        with asking(server):
            status, [answer] = post(server, {"question": "x"})
            assert (status, answer["error"]) == (503, "too many are waiting")
        while len(server._line) > 1:
            time.sleep(0.01)
        with asking(server) as last:
            assert json.loads(last.readline()) == {
                "state": "waiting",
                "ahead": 1,
            }
            go.set()
            assert json.loads(last.read().splitlines()[-1])["drawn"] == 1


def much(prompts, *, samples, **settings):
    """More than all buffers take."""
    for number in range(samples):
        yield 0, number, make_path("x" * 500_000)


def until(holds):
    """Waits for what the server does by itself."""
    end = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_who_was_answered_and_does_not_read_has_left_the_line():
    with serving(Streamed(much)) as server, asking(server, samples=8):
        until(lambda: not server._line)  # Long before it is cut off.


def test_a_client_that_does_not_read_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(listening, "PATIENCE", 0.5)
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    with serving(Streamed(much)) as server, contextlib.ExitStack() as stack:
        # From each of more than may wait.
        for _ in range(3):
            answer = stack.enter_context(asking(server, samples=8))
            until(lambda: not server._line)
        [_, *events] = post(server, {"question": "y"})[1]
        assert [event["state"] for event in events] == ["done"]
        # And they are cut off, where the system can do that.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            until(lambda: not server._http.server_state.tasks)
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()


def test_a_generation_ends_when_its_client_leaves():
    ended = threading.Event()
    more = threading.Event()

    def endless(prompts, *, samples, **settings):
        try:
            while True:
                # Never the last path, so the question is never done.
                yield from last_first(prompts, samples=samples - 1)
                more.set()
        finally:
            ended.set()

    with serving(Streamed(endless)) as server:
        with asking(server, samples=64) as answer:
            answer.readline()
            assert more.wait(20)
        assert ended.wait(20)


def test_an_address_in_use_is_named_before_the_model_is_loaded(server):
    loaded = []
    with pytest.raises(InputError, match="choose another --host or --port"):
        module.serve(lambda: loaded.append(1), port=server.server_address[1])
    assert loaded == []
    for host in ("no.such.host.invalid", "x" * 70):
        with pytest.raises(InputError, match="cannot listen on"):
            Server(cafeteria, host)
    with pytest.raises(InputError, match="cannot listen on"):
        Server(cafeteria, port=70_000)


_SERVE = """
import sys, time, types

def model(prompts, **settings):
    print("asked", flush=True)
    time.sleep(60)

loading = types.SimpleNamespace(load=lambda name: model)
sys.modules["keras_flan.models.loading"] = loading
from keras_flan import cli
cli.main()
"""


@pytest.mark.often
def test_ctrl_c_during_a_generation_ends_with_130():
    command = [sys.executable, "-c", _SERVE, "serve", "--model", "m"]
    with subprocess.Popen(
        [*command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background ignores this signal, and so do those
        # that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        stop = threading.Timer(60, process.kill)
        stop.start()
        url = process.stdout.readline().split()[0]
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16"
                b"\r\nContent-Type: application/json\r\n\r\n"
                b'{"question":"x"}'
            )
            assert process.stdout.readline() == "asked\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        stop.cancel()
        assert process.stderr.read() == ""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = map(shutil.which, ("chromium", "chromedriver"))
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_in_chromium(browser, width, tmp_path):
    from selenium.webdriver.support.ui import Select, WebDriverWait

    step = threading.Semaphore(0)

    def stepwise(prompts, **settings):
        for event in last_first(prompts, **settings):
            step.acquire(timeout=20)
            yield event

    def find(selector):
        return browser.find_element("css selector", selector)

    def wait(condition):
        WebDriverWait(browser, 20).until(lambda _: condition())

    with serving(Streamed(stepwise)) as server:
        browser.set_window_size(width, 1000)
        browser.get_log("browser")  # forgets what was before
        browser.get(server.url)
        assert find("#question").get_attribute("value") == QUESTION
        Select(find("#samples")).select_by_visible_text("10")
        Select(find("#kind")).select_by_value("number")
        find("#send").click()
        wait(lambda: find("#state").text == "Thinking ...")
        assert not find("#send").is_enabled()
        for _ in range(3):
            step.release()
        wait(lambda: find("#state").text == "3 of 10 paths")
        # The last of the ten were done first.
        numbers = browser.find_elements("css selector", ".path .line")
        assert [n.text.split("\n")[0] for n in numbers] == [
            "Path 8",
            "Path 9",
            "Path 10",
        ]
        step.release(7)
        wait(lambda: find("#state").text == "Done")
        assert "60% of 10 paths" in find(".facts").text
        paths = browser.find_elements("css selector", ".path pre")
        assert [path.text for path in paths] == CHAINS
        assert find(".vote").text == "9\n6 of 10"
        # Nothing sticks out sideways.
        wide = browser.execute_script(
            "return document.documentElement.scrollWidth > innerWidth"
        )
        assert not wide
        assert browser.get_log("browser") == []
        # The direct mode asks without the cue; errors are shown.
        browser.execute_script(
            "document.querySelector('[value=direct]').click();"
            "document.getElementById('question').value = 'x'.repeat(9000)"
        )
        find("#send").click()
        wait(lambda: "question" in find("#state").text)
        assert find("#state").get_attribute("class") == "failed"


def test_a_conversation_is_answered(server):
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "9"},
        {"role": "user", "content": QUESTION},
    ]
    status, events = post(server, {"messages": messages, "samples": 1})
    assert (status, events[-1]["state"]) == (200, "done")
    assert "step by step" not in events[-1]["html"]
    assert events[-1]["reply"]
    status, [refused] = post(server, {"messages": messages, "question": "x"})
    assert status == 400 and "messages: just one" in refused["error"]
    _, events = post(server, {"messages": messages[:2]})
    assert "the last turn is the assistant's" in events[-1]["error"]
