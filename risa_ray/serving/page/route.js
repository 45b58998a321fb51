// Where the page is, in the address: #store/007/camera/door?only=trouble

/** `{store, camera, filters}` of a fragment; null where it names none. */
export function parse(fragment) {
  const [path, query = ""] = fragment.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decode);
  const store = parts[0] === "store" && parts[1] ? parts[1] : null;
  const camera = store && parts[2] === "camera" && parts[3] ? parts[3] : null;
  return { store, camera, filters: Object.fromEntries(new URLSearchParams(query)) };
}

/** The fragment of a place; filters that are empty are left out. */
export function href({ store = null, camera = null, filters = {} } = {}) {
  const place = store === null ? "" : `store/${encodeURIComponent(store)}`;
  const path = camera === null ? place : `${place}/camera/${encodeURIComponent(camera)}`;
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value)).toString();
  return `#${path}${query ? `?${query}` : ""}`;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
