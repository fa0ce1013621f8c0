// Browsers refuse workers on pages that are opened from the disk, and search
// is one. There a hidden frame runs its script instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const within = this.frame.contentWindow;
      within.postMessage = (data) => this.answer(data);
      const script = within.document.createElement("script");
      this.ready = new Promise((done) => (script.onload = done));
      script.src = url;
      within.document.body.append(script);
    }
    answer(data) {
      this.dispatchEvent(new MessageEvent("message", {data}));
    }
    async postMessage(data) {
      await this.ready;
      const message = new MessageEvent("message", {data});
      this.frame.contentWindow.dispatchEvent(message);
    }
    terminate() {
      this.frame.remove();
    }
  };
}
