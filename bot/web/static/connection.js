// A WebSocket that is always there: it connects again by itself, and sends again what was not acknowledged. A frame
// keeps its id, so that the server acts on it once.

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 10_000;
const ACK_WAIT_MS = 15_000;
const ASLEEP_MS = 20_000; // away for longer than this, the connection may be dead without knowing it

export class Connection {
  // begin(): the fields of the begin frame. onFrame(frame), onUp(), onDown(): what became of it.
  constructor({ url, begin, onFrame, onUp, onDown }) {
    Object.assign(this, { url, begin, onFrame, onUp, onDown });
    this.owed = new Map(); // id -> frame sent or to be sent, not acknowledged yet
    this.mark = undefined;
    this.waitMs = FIRST_WAIT_MS;
    this.up = false;
    this.hiddenAt = undefined;
    document.addEventListener("visibilitychange", () => this.#lookedAt());
    window.addEventListener("online", () => this.#now());
    window.addEventListener("pageshow", (event) => event.persisted && this.#again());
  }

  connect() {
    clearTimeout(this.retry);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ type: "begin", mark: this.mark, ...this.begin() }));
    socket.onmessage = ({ data }) => socket === this.socket && this.#received(JSON.parse(data));
    socket.onclose = () => socket === this.socket && this.#closed();
  }

  // Sends the frame, now or when the connection is back. Returns its id.
  send(fields) {
    const id = freshId();
    const frame = { ...fields, id };
    this.owed.set(id, frame);
    if (this.up) this.#write(frame);
    else this.#now();
    return id;
  }

  #write(frame) {
    this.socket.send(JSON.stringify(frame));
    clearTimeout(this.late);
    this.late = setTimeout(() => this.#again(), ACK_WAIT_MS);
  }

  #received(frame) {
    if (frame.type === "welcome") {
      this.up = true;
      this.waitMs = FIRST_WAIT_MS;
      this.onUp();
      for (const owed of this.owed.values()) this.#write(owed);
    }
    if (frame.mark) this.mark = frame.mark;
    if (frame.type === "ack" || (frame.type === "error" && frame.id)) {
      this.owed.delete(frame.id);
      if (this.owed.size === 0) clearTimeout(this.late);
    }
    this.onFrame(frame);
  }

  #closed() {
    this.socket = undefined;
    this.up = false;
    clearTimeout(this.late);
    this.onDown();
    const jitter = 0.75 + Math.random() / 2;
    this.retry = setTimeout(() => this.connect(), this.waitMs * jitter);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  // Lets go of a connection that is not to be trusted, and makes a new one.
  #again() {
    const old = this.socket;
    this.socket = undefined;
    this.up = false;
    old?.close();
    this.connect();
  }

  // Ends the waiting for the next try.
  #now() {
    if (!this.socket) this.connect();
  }

  #lookedAt() {
    if (document.hidden) this.hiddenAt = Date.now();
    else if (this.socket && Date.now() - this.hiddenAt > ASLEEP_MS) this.#again();
    else this.#now();
  }
}

// crypto.randomUUID() is for https only; a box at home is often reached by http.
function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
