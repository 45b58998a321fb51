// The API, with the token if there is one.

const KEY = "risa-token";
const PATIENCE_MS = 10000;
let token = stored();

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // storage is switched off: the token lasts as long as the page
  }
}

/** Use this token from now on; it ends with the tab. */
export function setToken(value) {
  token = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // see `stored`
  }
}

/** What the server refused, in its words. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** fetch() with the token; throws Refused for any answer that is not a success, and TypeError where none came. */
export async function call(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, typeof body.detail === "string" ? body.detail : `the server answers ${answer.status}`);
}

export async function stores() {
  return (await call("/v1/stores")).json();
}

/** The newest picture of a camera, its faces blurred: `{image, capturedAt}`. */
export async function picture(storeId, cameraId) {
  const path = `/v1/cameras/${encodeURIComponent(cameraId)}/picture?store=${encodeURIComponent(storeId)}`;
  const answer = await call(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  return { image: await createImageBitmap(await answer.blob()), capturedAt: answer.headers.get("X-Captured-At") };
}

export async function acknowledge(alertId) {
  await call(`/v1/alerts/${encodeURIComponent(alertId)}/acknowledge`, { method: "POST" });
}
