// Keeps a page up to date: follows the live feed, and fetches the page anew for those regions of it (`data-live`) that
// something has happened to. Nothing here is needed: without it a page is as it was when it was loaded.
"use strict";

(() => {
  // A region is fetched anew no sooner than so long after something happened, so that one fetch serves many happenings.
  const GATHER = 250;
  // And no more often than that, unless the region says otherwise (`data-every`).
  const EVERY = 500;
  // Also when nothing is heard: "5 min" becomes "6 min", and a feed that died unnoticed is made up for.
  const ANYWAY = 60_000;
  const FETCH_WITHIN = 15_000;
  const BACKOFF_FIRST = 500;
  const BACKOFF_MOST = 30_000;
  // A feed that was open for so long was a good one.
  const GOOD_AFTER = 10_000;
  // After so many refusals in a row the position may be what is refused.
  const FORGET_AFTER = 3;
  // Rows of the live activity; older ones go.
  const ROWS_MOST = 200;

  const body = document.body;
  const address = body.dataset.feed;
  if (!address) return;
  const source = body.dataset.source || location.pathname + location.search;

  const said = document.getElementById("said");
  const shown = document.getElementById("live");

  // ── regions

  const regions = () => [...document.querySelectorAll("[data-live]")];
  const about = (region) => region.dataset.live.split(" ");
  const dirty = new Set();
  const fetched = new Map();
  let timer = 0;
  let busy = false;
  let failures = 0;

  const soil = (type) => {
    for (const region of regions()) {
      if (type !== undefined && !about(region).includes(type)) continue;
      dirty.add(region.id);
      const again = Number(region.dataset.again);
      if (again && type !== undefined) setTimeout(() => { dirty.add(region.id); plan(); }, again);
    }
    plan();
  };

  const due = (id) => {
    const every = Number(document.getElementById(id)?.dataset.every) || EVERY;
    return Math.max(0, (fetched.get(id) ?? -Infinity) + every - performance.now());
  };

  // Those that may be put anew.
  const ready = () => [...dirty].filter((id) => {
    const region = document.getElementById(id);
    if (!region) dirty.delete(id);
    return region && !inUse(region);
  });

  const plan = () => {
    if (timer || busy || document.hidden) return;
    const waiting = ready();
    if (waiting.length === 0) return;
    const pause = failures === 0 ? 0 : Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** failures);
    const wait = Math.max(GATHER, pause, Math.min(...waiting.map(due)));
    timer = setTimeout(() => { timer = 0; refresh(); }, wait);
  };

  // Somebody is typing there: it is left alone until they have done.
  const inUse = (region) => {
    const active = document.activeElement;
    const typing = active && region.contains(active) && active.matches("input, textarea, select");
    const typed = [...region.querySelectorAll("input, textarea")].some((field) => field.value !== field.defaultValue);
    return typing || typed;
  };

  const swap = (region, fresh) => {
    if (region.innerHTML === fresh.innerHTML) return;
    const active = document.activeElement;
    const focus = active && active !== region && region.contains(active) ? active : null;
    const place = focus && [focus.id, focus.getAttribute("href")];
    const open = [...region.querySelectorAll("details[open][id]")].map((one) => one.id);
    region.replaceChildren(...document.importNode(fresh, true).childNodes);
    region.className = fresh.className;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (!place) return;
    const [id, href] = place;
    const again = id ? document.getElementById(id) : href && region.querySelector(`a[href="${CSS.escape(href)}"]`);
    // What had the focus is gone: it stays near, for whoever goes on by keyboard.
    if (!again) region.setAttribute("tabindex", "-1");
    (again || region).focus({ preventScroll: true });
  };

  // What is under way and in no feed says itself when it is to be looked at (`data-soon`, in milliseconds).
  const awaited = new Set();
  const look = () => {
    for (const one of document.querySelectorAll("[data-soon]")) {
      const id = one.closest("[data-live]")?.id;
      if (!id || awaited.has(id)) continue;
      awaited.add(id);
      setTimeout(() => { awaited.delete(id); dirty.add(id); plan(); }, Number(one.dataset.soon));
    }
  };

  const refresh = async () => {
    const wanted = ready().filter((id) => due(id) === 0);
    busy = true;
    try {
      const answer = await fetch(source, { signal: AbortSignal.timeout(FETCH_WITHIN), headers: { "x-regions": wanted.join(" ") } });
      // The session is over: the page says so itself.
      if (answer.redirected) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      failures = 0;
      for (const id of wanted) {
        const region = document.getElementById(id);
        const fresh = page.getElementById(id);
        fetched.set(id, performance.now());
        if (region && inUse(region)) continue;
        // It is over with what was waited for there: all of the page is another now. Not loaded anew, which would cut off
        // whoever is on the way to elsewhere.
        const whole = page.getElementById("main");
        if (region && !fresh && whole && region.dataset.until !== undefined) {
          swap(document.getElementById("main"), whole);
          break;
        }
        dirty.delete(id);
        if (region && fresh) swap(region, fresh);
      }
      look();
    } catch {
      failures = Math.min(failures + 1, 10);
    } finally {
      busy = false;
    }
    plan();
  };

  // ── the feed

  let position = null;
  let tries = 0;
  let socket = null;
  let retry = 0;

  const tell = (text, state) => {
    shown.hidden = false;
    shown.dataset.state = state;
    if (shown.textContent !== text) shown.textContent = text;
  };

  const heard = (frame) => {
    if (frame.position) position = frame.position;
    if (frame.type === "hello" || frame.type === "gap") return soil();
    soil(frame.type);
    if (frame.type === "alarm") announce(frame);
    activity(frame);
  };

  const connect = () => {
    retry = 0;
    const url = new URL(address, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (position && tries <= FORGET_AFTER) url.searchParams.set("since", position);
    let good = 0;
    socket = new WebSocket(url);
    socket.onopen = () => {
      good = setTimeout(() => { tries = 0; }, GOOD_AFTER);
      tell("Live", "live");
    };
    socket.onmessage = (message) => {
      let frame;
      try { frame = JSON.parse(message.data); } catch { return; }
      heard(frame);
    };
    socket.onclose = () => {
      clearTimeout(good);
      tries += 1;
      tell("Reconnecting…", "away");
      // Anywhere up to a time that grows: portals that restart are not asked by everybody at once.
      const most = Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** Math.min(tries, 10));
      retry = setTimeout(connect, 100 + Math.random() * most);
    };
  };

  const now = () => {
    if (!retry) return;
    clearTimeout(retry);
    connect();
  };

  // ── what is said to those who do not see it change

  const announce = ({ device, data }) => {
    if (data.state !== "active" || data.acknowledged || data.count > 1) return;
    said.textContent = `New alarm, ${data.severity}. ${device}: ${data.text}`;
  };

  // ── live activity

  const feed = document.getElementById("feed");
  const pause = document.getElementById("pause");
  let paused = false;

  const words = {
    alarm: (data) => `alarm ${data.state === "active" ? (data.acknowledged ? "acknowledged" : data.severity) : "cleared"}: ${data.text} (${data.code})`,
    event: (data) => `event ${data.kind} ${data.code}${data.cleared ? " is over" : ""}: ${data.text}`,
    command: (data) => `command ${data.method} no. ${data.number}: ${data.state}`,
    connection: (data) => `${data.state}${data.reason ? ` (${data.reason})` : ""}`,
  };

  const activity = ({ type, device, data }) => {
    if (!feed || paused || !words[type]) return;
    const row = document.createElement("li");
    const time = document.createElement("time");
    time.className = "small";
    time.textContent = `${new Date().toISOString().slice(11, 19)} UTC `;
    const link = document.createElement("a");
    link.href = `/devices/${encodeURIComponent(device)}`;
    link.textContent = device;
    // Only ever as text: what devices say is not ours.
    row.append(time, link, ` ${words[type](data).slice(0, 240)}`);
    row.className = `row-${type}`;
    feed.prepend(row);
    while (feed.childElementCount > ROWS_MOST) feed.lastElementChild.remove();
  };

  if (feed) {
    document.getElementById("now").hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      pause.textContent = paused ? "Go on" : "Pause";
    });
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) { now(); plan(); } });
  document.addEventListener("focusout", () => setTimeout(plan, 0));
  window.addEventListener("online", now);
  // A page that comes back from the browser's memory was told nothing meanwhile.
  window.addEventListener("pageshow", (event) => { if (event.persisted) soil(); });
  setInterval(() => soil(), ANYWAY);
  look();
  connect();
})();
