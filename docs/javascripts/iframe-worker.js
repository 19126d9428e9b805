// Browsers start no Worker from a file. In pages that were opened as files a hidden frame runs its script instead, so
// that the search needs no server and no network. The theme's worker asks for the name IFrameWorker.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = [] // messages until the script has run
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.scope = frame.contentWindow
      this.scope.postMessage = data => this.hand(this, data)
      this.scope.importScripts = async (...urls) => {
        for (const each of urls) await this.run(each)
      }
      this.run(url).then(() => {
        this.waiting.forEach(data => this.hand(this.scope, data))
        this.waiting = null
      })
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.hand(this.scope, data)
    }
    terminate() {
      this.scope.frameElement.remove()
    }
    run(url) {
      const script = this.scope.document.createElement("script")
      script.src = new URL(url, location.href)
      return new Promise((done, failed) => {
        Object.assign(script, { onload: done, onerror: failed })
        this.scope.document.body.append(script)
      })
    }
    hand(target, data) {
      setTimeout(() => {
        const event = new MessageEvent("message", { data })
        if (typeof target.onmessage === "function") target.onmessage(event)
        target.dispatchEvent(event)
      })
    }
  }
}
