// Requests to the studio. The token comes in the address, once, and stays with this tab.
const given = new URLSearchParams(location.search).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}
export const token = sessionStorage.getItem("token") ?? "";

// signal: of somebody who may stop waiting.
export async function ask(method, path, body, signal) {
  const raw = body === undefined || body instanceof Blob ? body : JSON.stringify(body);
  const answer = await fetch(path, { method, body: raw, headers: { Authorization: `Bearer ${token}` }, signal });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

// The pieces of a request, once they are made; `watch` is told how far they are.
export async function made(path, body, watch) {
  let job = await ask("POST", path, body);
  while (job.state === "waiting" || job.state === "running") {
    watch(job);
    job = await ask("GET", `/api/jobs/${job.id}?wait=0.2`);
  }
  watch(job);
  if (job.state === "failed") throw new Error(job.error);
  return job;
}

export const address = (id, what) => `/api/pieces/${id}/${what}${what.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`;
