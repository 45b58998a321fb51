// What the server said last, so that every part of the page finds its own quickly.

const NOBODY = [];
// The tables tell every 30 s, and later while they are asked a lot. An hour that is older is the last one no more.
const HOUR_MS = 300000;
// Who heard nothing for so long was away.
const AWAY_MS = 60000;

export const placeKey = (storeId, cameraId, zoneId = null) => `${storeId}/${cameraId}/${zoneId ?? ""}`;

export class Model {
  /** Stores as /v1/stores has them; null until they came. */
  stores = null;
  live = null;
  /** The last hour as the tables have it; null before they told it, and once it is too old to be that. */
  hour = null;
  /** When they told it last, in milliseconds; null: never. */
  toldAt = null;
  #hearingSince = -Infinity;
  #cameras = new Map();
  #figures = new Map();
  #people = new Map();
  #hours = new Map();
  #queues = new Map();
  #storesById = new Map();

  setStores(stores) {
    this.stores = stores;
    this.#storesById = new Map(stores.map((store) => [store.store_id, store]));
  }

  setLive(live) {
    const now = Date.parse(live.at);
    if (this.live && now - Date.parse(this.live.at) > AWAY_MS) this.#hearingSince = now;
    if (this.hour && now - this.toldAt > HOUR_MS) this.#takeHour(null);
    this.live = live;
    this.#cameras = new Map(live.cameras.map((c) => [placeKey(c.store_id, c.camera_id), c]));
    this.#figures = new Map(live.figures.map((f) => [placeKey(f.store_id, f.camera_id, f.zone_id), f]));
    this.#people = grouped(live.people, (p) => placeKey(p.store_id, p.camera_id));
  }

  setHour(hour) {
    this.toldAt = Date.parse(hour.at);
    this.#takeHour(hour);
  }

  #takeHour(hour) {
    this.hour = hour;
    const since = hour && Date.parse(hour.since);
    this.#hours = new Map(hour?.moods.map((m) => [placeKey(m.store_id, m.camera_id, m.zone_id), { ...m, since }]));
    this.#queues = new Map(hour?.queues.map((q) => [placeKey(q.store_id, q.camera_id, q.zone_id), q]));
  }

  /** For how many seconds the tables have told nothing, though they had and this page was there to hear; 0: none are missed. */
  get silentS() {
    if (this.hour || this.toldAt === null) return 0;
    const now = Date.parse(this.live.at);
    return now - this.#hearingSince > HOUR_MS ? (now - this.toldAt) / 1000 : 0;
  }

  store(storeId) {
    return this.#storesById.get(storeId);
  }

  camera(storeId, cameraId) {
    return this.#cameras.get(placeKey(storeId, cameraId));
  }

  figures(storeId, cameraId, zoneId = null) {
    return this.#figures.get(placeKey(storeId, cameraId, zoneId));
  }

  people(storeId, cameraId) {
    return this.#people.get(placeKey(storeId, cameraId)) ?? NOBODY;
  }

  /** The last hour of a camera or a zone by minute, `{since, tracks, net_sentiment, hidden}`; undefined: nothing is known. */
  lastHour(storeId, cameraId, zoneId = null) {
    return this.#hours.get(placeKey(storeId, cameraId, zoneId));
  }

  /** Waits of a queue zone in an hour; those of all the camera's queues where the tables have them together. */
  queue(storeId, cameraId, zoneId) {
    return this.#queues.get(placeKey(storeId, cameraId, zoneId)) ?? this.#queues.get(placeKey(storeId, cameraId));
  }

  timezone(storeId) {
    return this.store(storeId)?.timezone ?? "UTC";
  }

  zone(storeId, cameraId, zoneId) {
    const camera = this.store(storeId)?.cameras.find((c) => c.camera_id === cameraId);
    return camera?.zones.find((z) => z.zone_id === zoneId);
  }

  /** "Door (Riverside)"; ids where there are no names. */
  placeName(storeId, cameraId, zoneId = null) {
    const store = this.store(storeId);
    const camera = store?.cameras.find((c) => c.camera_id === cameraId);
    const zone = zoneId === null ? null : this.zone(storeId, cameraId, zoneId);
    const parts = zoneId === null ? [] : [zone?.name || zoneId];
    return [...parts, camera?.name || cameraId, store?.name || storeId].join(" · ");
  }
}

/** Map from key to the items that have it. */
export function grouped(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}

/**
 * The figures of several cameras as those of one place: net sentiment over all the people followed whose cameras show
 * theirs. Who is seen by two cameras is two people here.
 */
export function pooled(figures) {
  const known = figures.filter(Boolean);
  const shown = known.filter((f) => f.status === "ok" && f.net_sentiment !== null);
  const sum = (name) => shown.reduce((total, f) => total + f[name], 0);
  const withMood = sum("with_mood");
  const status = withMood ? "ok" : (known.find((f) => f.status !== "no_mood")?.status ?? "no_mood");
  const counted = known.filter((f) => f.unknown_share !== null && f.tracks);
  const tracks = counted.reduce((total, f) => total + f.tracks, 0);
  return {
    k: known[0]?.k ?? 0,
    people_now: known.reduce((total, f) => total + f.people_now, 0),
    with_mood: withMood,
    net_sentiment: withMood ? (sum("positive") - sum("negative")) / withMood : null,
    ci: null,
    unknown_share: tracks ? counted.reduce((total, f) => total + f.unknown_share * f.tracks, 0) / tracks : null,
    status,
  };
}

/** The last hour of several cameras as that of one place: the mean of those shown, weighted by people followed. */
export function pooledHour(hours) {
  const known = hours.filter(Boolean);
  if (!known.length) return undefined;
  const minutes = known[0].tracks.map((_, i) => {
    const shown = known.filter((h) => h.net_sentiment[i] !== null && h.tracks[i]);
    const tracks = shown.reduce((total, h) => total + h.tracks[i], 0);
    return { tracks, net: tracks ? shown.reduce((total, h) => total + h.net_sentiment[i] * h.tracks[i], 0) / tracks : null };
  });
  const suppressed = [...new Set(known.flatMap(few))].filter((i) => minutes[i].net === null);
  return {
    since: known[0].since,
    tracks: minutes.map((m) => m.tracks),
    net_sentiment: minutes.map((m) => m.net),
    hidden: { suppressed },
  };
}

/** Numbers of the minutes of an hour in which there were too few people for a figure. */
export function few(hour) {
  return Object.entries(hour.hidden).flatMap(([status, minutes]) => (status.endsWith("suppressed") ? minutes : []));
}

const TREND_MINUTES = 15;
const LEAST_MINUTES = 5;

/**
 * Where net sentiment goes: "up" or "down" where the mean of the 15 minutes before lies outside its 95 % interval,
 * "steady" where it lies inside, null where too little is known. So noise never points anywhere.
 */
export function trend(figures, hour, now) {
  if (!figures?.ci || figures.status !== "ok" || !hour) return null;
  const newest = Math.floor((Date.parse(now) - hour.since) / 60000); // the minute that is under way
  const shown = [];
  for (let i = Math.max(0, newest - TREND_MINUTES); i < Math.min(newest, hour.tracks.length); i++)
    if (hour.net_sentiment[i] !== null && hour.tracks[i]) shown.push(i);
  if (shown.length < LEAST_MINUTES) return null;
  const weight = shown.reduce((total, i) => total + hour.tracks[i], 0);
  const before = shown.reduce((total, i) => total + hour.net_sentiment[i] * hour.tracks[i], 0) / weight;
  const way = before < figures.ci[0] ? "up" : before > figures.ci[1] ? "down" : "steady";
  return { way, before };
}
