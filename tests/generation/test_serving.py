"""The local page: its protocol, its limits, and how it looks at work."""

import contextlib
import http.client
import json
import shutil
import socket
import threading
import time

import pytest

from keras_flan.errors import InputError
from keras_flan.generation.serving import Queue, QueueFull, Server
from tests.generation.fakes import (
    CHAINS,
    QUESTION,
    Streamed,
    cafeteria,
    last_first,
)


@contextlib.contextmanager
def serving(model):
    with Server(model, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
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
    if not isinstance(body, bytes):
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
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
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
        ({}, "question: this key is missing"),
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
    assert post(server, asked, Host="evil.example")[0] == 403
    for method, path, status in (
        ("GET", "/etc/passwd", 404),
        ("GET", "/../x", 404),
        ("POST", "/", 404),
        ("PUT", "/ask", 501),
    ):
        connection = connect(server)
        connection.request(method, path)
        assert connection.getresponse().status == status
        connection.close()
    for length, status in (("-1", 411), ("x", 411), ("9" * 5000, 413)):
        connection = connect(server)
        connection.putrequest("POST", "/ask")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
    # Still there.
    assert post(server, asked)[0] == 200


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
    running, most = [], []
    go = threading.Event()

    def slow(prompts, **settings):
        running.append(prompts)
        most.append(len(running))
        go.wait(20)
        running.remove(prompts)
        return cafeteria(prompts, **settings)

    with serving(slow) as server:
        done = []
        threads = []
        for i in range(4):
            asked = {"question": str(i), "mode": "direct"}
            threads.append(
                threading.Thread(
                    target=lambda asked=asked: done.append(post(server, asked))
                )
            )
            threads[-1].start()
        while len(server.queue._waiting) < 4:
            time.sleep(0.01)
        go.set()
        for thread in threads:
            thread.join(20)
    assert most == [1] * 4
    states = [events[0]["state"] for _, events in done]
    # The last may have taken its place and not looked ahead of it yet.
    assert set(states) == {"running", "waiting"}
    assert all(events[-1]["state"] == "done" for _, events in done)


def test_the_queue_is_in_order_and_bounded():
    queue = Queue(2)
    with queue.place() as first, queue.place() as second:
        assert list(first) == []
        assert next(second) == 1
        with pytest.raises(QueueFull), queue.place():
            pass
    with queue.place() as third:
        assert list(third) == []


def test_a_full_queue_refuses(monkeypatch):
    with serving(cafeteria) as server:
        server.queue = Queue(0)
        status, [answer] = post(server, {"question": "x"})
        assert (status, answer["error"]) == (503, "too many are waiting")


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
        connection = connect(server)
        body = json.dumps({"question": "x", "samples": 64})
        connection.request(
            "POST", "/ask", body, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        answer.readline()
        assert more.wait(20)
        answer.close()
        connection.close()
        assert ended.wait(20)


def test_an_address_in_use_is_named(server):
    with pytest.raises(InputError, match="choose another --host or --port"):
        Server(cafeteria, port=server.server_address[1])


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
