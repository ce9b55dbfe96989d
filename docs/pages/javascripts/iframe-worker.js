// A page opened from a file may start no worker, which the search runs in: there a hidden frame does a worker's work.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      const base = new URL(url, document.baseURI)
      const load = address =>
        new Promise((done, failed) => {
          const script = inside.document.createElement("script")
          script.src = new URL(address, base)
          script.onload = done
          script.onerror = failed
          inside.document.head.append(script)
        })
      inside.importScripts = async (...addresses) => {
        for (const address of addresses) await load(address)
      }
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const ready = load(base)
      this.postMessage = data => ready.then(() => inside.dispatchEvent(new inside.MessageEvent("message", { data })))
    }
  }
