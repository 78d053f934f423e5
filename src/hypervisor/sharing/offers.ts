/**
 * Pages that are in one place so far, by the hash of their contents: what another page may turn out to be the same as. An offer holds
 * nothing: who finds one looks whether it is still good. Some are lost where many hashes end alike.
 */

/** Places that are looked at. */
const PROBES = 8;
const ROOM_MIN = 1 << 12;

export class Offers {
  #room = ROOM_MIN;
  #count = 0;
  #hashes = new Int32Array(ROOM_MIN);
  #who = new Int32Array(ROOM_MIN);
  #gfns = new Int32Array(ROOM_MIN);

  /** Show those with this hash, until one is taken. Returns whether one was. */
  find(hash: number, take: (who: number, gfn: number) => boolean): boolean {
    for (let probe = 0; probe < PROBES; probe++) {
      const at = (hash + probe) % this.#room;
      if (this.#hashes[at] === hash && take(this.#who[at] as number, this.#gfns[at] as number)) return true;
    }
    return false;
  }

  /** One with the same hash is replaced. */
  add(hash: number, who: number, gfn: number): void {
    if (2 * this.#count >= this.#room) this.#grow();
    let at = (hash + PROBES - 1) % this.#room;
    for (let probe = 0; probe < PROBES; probe++) {
      const place = (hash + probe) % this.#room;
      if (this.#hashes[place] !== hash && this.#hashes[place] !== 0) continue;
      at = place;
      break;
    }
    if (this.#hashes[at] === 0) this.#count += 1;
    this.#hashes[at] = hash;
    this.#who[at] = who;
    this.#gfns[at] = gfn;
  }

  /** Drop those that are not good any more. */
  sweep(isGood: (who: number, gfn: number) => boolean): void {
    const [hashes, who, gfns] = [this.#hashes, this.#who, this.#gfns];
    this.#clear(this.#room);
    for (let at = 0; at < hashes.length; at++) {
      const hash = hashes[at] as number;
      if (hash !== 0 && isGood(who[at] as number, gfns[at] as number))
        this.add(hash, who[at] as number, gfns[at] as number);
    }
  }

  #grow(): void {
    const [hashes, who, gfns] = [this.#hashes, this.#who, this.#gfns];
    this.#clear(2 * this.#room);
    for (let at = 0; at < hashes.length; at++) {
      if (hashes[at] !== 0) this.add(hashes[at] as number, who[at] as number, gfns[at] as number);
    }
  }

  #clear(room: number): void {
    this.#room = room;
    this.#count = 0;
    this.#hashes = new Int32Array(room);
    this.#who = new Int32Array(room);
    this.#gfns = new Int32Array(room);
  }
}
