// Plays a piece voice by voice: the studio renders some seconds at a time while they are heard, so sound begins soon, and stops when it
// is stopped. Each stem holds the notes that begin in its seconds, as long as they ring; together they are the piece.
import { address } from "./api.js";

const RATE = 44100, AHEAD_S = 8, BEFORE_S = 4, LENGTHS_S = [1, 2, 4], SOON_S = 0.06;

export class Player {
  // says: state() when it begins or ends, failed(error).
  constructor(says) {
    Object.assign(this, { says, from: 0, begun: 0, playing: false, waiting: false, heard: () => true, volume: 1 });
  }

  // voices: of each the seconds at which its notes begin, ascending; seconds: how long it lasts.
  load(id, voices, seconds) {
    const going = this.playing, at = this.now();
    this.stop();
    Object.assign(this, { id, voices, seconds, from: Math.min(at, seconds) });
    if (going) this.play();
  }

  // Second of the piece that is heard.
  now() {
    if (!this.playing || this.waiting) return this.from;
    return Math.min(this.seconds, Math.max(this.from, this.from + this.context.currentTime - this.begun));
  }

  // Within what a user does, so that a browser allows it.
  wake() {
    if (!this.context) {
      this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
      this.out = this.context.createDynamicsCompressor(); // touches only what would be too loud
      for (const [name, value] of Object.entries({ threshold: -3, knee: 3, ratio: 20, attack: 0.002, release: 0.1 })) this.out[name].value = value;
      this.meter = this.context.createAnalyser();
      this.level = this.context.createGain();
      this.level.connect(this.out).connect(this.meter).connect(this.context.destination);
      this.samples = new Float32Array(this.meter.fftSize);
    }
    this.level.gain.value = this.volume;
    return this.context.resume();
  }

  // The highest sample that is heard now, 0 to 1.
  peak() {
    if (!this.playing) return 0;
    this.meter.getFloatTimeDomainData(this.samples);
    return this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  }

  mix() {
    this.gains?.forEach((gain, voice) => gain.gain.setTargetAtTime(this.heard(voice) ? 1 : 0, this.context.currentTime, 0.01));
  }

  seek(second) {
    const going = this.playing;
    this.stop();
    this.from = Math.max(0, Math.min(second, this.seconds));
    if (going) this.play();
  }

  stop() {
    if (!this.playing) return;
    this.from = this.now();
    this.playing = false;
    this.asking.abort();
    for (const gain of this.gains) gain.disconnect();
    this.says.state();
  }

  async play() {
    if (this.playing || !this.id) return;
    if (this.from >= this.seconds - 0.05) this.from = 0;
    this.playing = this.waiting = true;
    const asking = (this.asking = new AbortController());
    this.says.state();
    try {
      await this.wake();
      if (asking.signal.aborted) return;
      this.gains = this.voices.map(() => new GainNode(this.context));
      for (const gain of this.gains) gain.connect(this.level);
      this.voices.forEach((_, voice) => (this.gains[voice].gain.value = this.heard(voice) ? 1 : 0));
      await this.run(asking.signal);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.stop();
      this.says.failed(error);
    }
  }

  async run(signal) {
    const origin = this.from, first = Math.max(0, origin - BEFORE_S); // notes that ring already are heard, too
    let [low, high, n] = [first, Math.min(this.seconds, origin + LENGTHS_S[0]), 0];
    while (low < this.seconds) {
      const clips = await this.stems(low, high, signal);
      if (signal.aborted) return;
      if (this.waiting) {
        this.begun = this.context.currentTime + SOON_S;
        this.waiting = false;
        this.says.state();
      }
      const late = this.context.currentTime + 0.01 - (this.begun + Math.max(low, origin) - origin);
      if (late > 0) this.begun += late; // it was not rendered in time: all else waits for it
      for (const [voice, clip] of clips) this.schedule(voice, clip, this.begun + low - origin);
      n += 1;
      [low, high] = [high, Math.min(this.seconds, high + LENGTHS_S[Math.min(n, LENGTHS_S.length - 1)])];
      while (low - this.now() > AHEAD_S && !signal.aborted) await new Promise((done) => setTimeout(done, 200));
    }
    while (this.now() < this.seconds && !signal.aborted) await new Promise((done) => setTimeout(done, 100));
    if (signal.aborted) return;
    this.stop();
    this.from = 0;
    this.says.state();
  }

  schedule(voice, clip, when) {
    const source = new AudioBufferSourceNode(this.context, { buffer: clip }), { currentTime } = this.context;
    source.connect(this.gains[voice]);
    if (when >= currentTime) source.start(when);
    else source.start(0, currentTime - when);
  }

  // Of every voice that begins something in these seconds, its sound.
  async stems(low, high, signal) {
    const last = high >= this.seconds ? high + 1 : high;
    const busy = this.voices.map((begins, voice) => [voice, begins]).filter(([, begins]) => begins.some((second) => second >= low && second < last));
    const found = await Promise.all(busy.map(async ([voice]) => {
      const answer = await fetch(address(this.id, `stem?voice=${voice}&first=${low}&last=${last}`), { signal });
      if (!answer.ok) throw new Error((await answer.json()).error);
      const content = await answer.arrayBuffer();
      return content.byteLength > 200 ? [voice, await this.context.decodeAudioData(content)] : null;
    }));
    return found.filter(Boolean);
  }
}
