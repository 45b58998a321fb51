// What the server said last, so that every part of the page finds its own quickly.

const NOBODY = [];

export const placeKey = (storeId, cameraId, zoneId = null) => `${storeId}/${cameraId}/${zoneId ?? ""}`;

export class Model {
  /** Stores as /v1/stores has them; null until they came. */
  stores = null;
  live = null;
  hour = null;
  #cameras = new Map();
  #figures = new Map();
  #people = new Map();
  #minutes = new Map();
  #queues = new Map();
  #storesById = new Map();

  setStores(stores) {
    this.stores = stores;
    this.#storesById = new Map(stores.map((store) => [store.store_id, store]));
  }

  setLive(live) {
    this.live = live;
    this.#cameras = new Map(live.cameras.map((c) => [placeKey(c.store_id, c.camera_id), c]));
    this.#figures = new Map(live.figures.map((f) => [placeKey(f.store_id, f.camera_id, f.zone_id), f]));
    this.#people = grouped(live.people, (p) => placeKey(p.store_id, p.camera_id));
  }

  setHour(hour) {
    this.hour = hour;
    this.#minutes = grouped(hour.minutes, (m) => placeKey(m.store_id, m.camera_id, m.zone_id));
    this.#queues = new Map(hour.queues.map((q) => [placeKey(q.store_id, q.camera_id, q.zone_id), q]));
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

  minutes(storeId, cameraId, zoneId = null) {
    return this.#minutes.get(placeKey(storeId, cameraId, zoneId)) ?? NOBODY;
  }

  queue(storeId, cameraId, zoneId) {
    return this.#queues.get(placeKey(storeId, cameraId, zoneId));
  }

  timezone(storeId) {
    return this.store(storeId)?.timezone ?? "UTC";
  }

  /** "Door (Riverside)"; ids where there are no names. */
  placeName(storeId, cameraId, zoneId = null) {
    const store = this.store(storeId);
    const camera = store?.cameras.find((c) => c.camera_id === cameraId);
    const zone = zoneId === null ? null : camera?.zones.find((z) => z.zone_id === zoneId);
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

/** The minutes of several cameras as those of one place: the mean of those shown, weighted by people followed. */
export function pooledMinutes(groups) {
  const minutes = new Map();
  for (const m of groups.flat()) {
    const cell = minutes.get(m.minute) ?? { minute: m.minute, tracks: 0, total: 0, status: m.status };
    if (m.net_sentiment !== null) {
      cell.tracks += m.tracks;
      cell.total += m.net_sentiment * m.tracks;
    } else if (m.status.endsWith("suppressed")) cell.status = m.status;
    minutes.set(m.minute, cell);
  }
  return [...minutes.values()].map(({ minute, tracks, total, status }) => ({
    minute,
    tracks,
    net_sentiment: tracks ? total / tracks : null,
    status: tracks ? "ok" : status,
  }));
}

const TREND_MINUTES = 15;
const LEAST_MINUTES = 5;

/**
 * Where net sentiment goes: "up" or "down" where the mean of the 15 minutes before lies outside its 95 % interval,
 * "steady" where it lies inside, null where too little is known. So noise never points anywhere.
 */
export function trend(figures, minutes, now) {
  if (!figures?.ci || figures.status !== "ok") return null;
  const newest = Date.parse(now);
  const shown = minutes.filter((m) => {
    const age = (newest - Date.parse(m.minute)) / 60000;
    return m.net_sentiment !== null && m.tracks && age >= 1 && age <= TREND_MINUTES + 1;
  });
  if (shown.length < LEAST_MINUTES) return null;
  const weight = shown.reduce((total, m) => total + m.tracks, 0);
  const before = shown.reduce((total, m) => total + m.net_sentiment * m.tracks, 0) / weight;
  const way = before < figures.ci[0] ? "up" : before > figures.ci[1] ? "down" : "steady";
  return { way, before };
}
