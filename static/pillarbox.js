// Pillarbox in the browser; the README of the box that it came from says how it is used.
(() => {
  'use strict';
  const tag = document.currentScript;
  const before = window.pillarbox || {};
  if (before.loaded) return;
  const box = new URL('.', tag.src).href;
  const source = tag.dataset.source;
  const warn = (text) => console.warn('pillarbox: ' + text);

  // One request: so many events, and so many bytes as a page may send while it goes away.
  const MAX_EVENTS = 50, MAX_BYTES = 50000;
  // What cannot be sent waits in memory, and is tried again after 1, 2, 4, … seconds.
  const MAX_WAITING = 200, MAX_TRIES = 8;

  const refuses = tag.dataset.respectDnt !== 'false' &&
    (navigator.globalPrivacyControl || navigator.doNotTrack === '1' || window.doNotTrack === '1');

  const uuid = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  };

  const visitor = () => {
    const kept = /(?:^|; )_pb_vid=([0-9a-f-]{36})(?:;|$)/.exec(document.cookie);
    const id = kept ? kept[1] : uuid();
    document.cookie = '_pb_vid=' + id + '; path=/; max-age=31536000; SameSite=Lax' +
      (location.protocol === 'https:' ? '; Secure' : '');
    return id;
  };
  const visitorId = refuses ? undefined : visitor();

  // SENDING. Events wait as text, so that a page that changes an object changes no event.
  let waiting = [], onTheWay = 0, most = MAX_EVENTS, tries = 0, timer;

  const take = () => {
    let bytes = 0, count = 0;
    while (count < waiting.length && count < most && bytes + waiting[count].size <= MAX_BYTES) {
      bytes += waiting[count++].size;
    }
    return count;
  };
  const bodyOf = (events) => '{"source":' + JSON.stringify(source) + ',"sentAt":"' + new Date().toISOString() +
    '","events":[' + events.map((event) => event.text).join() + ']}';
  const post = (path, body) => fetch(box + path, { method: 'POST', body, keepalive: true, credentials: 'omit' });
  const problem = (answer) => answer.json().then((said) => warn(said.detail), () => warn(answer.status));

  const flush = () => {
    timer = 0;
    if (onTheWay || !waiting.length) return;
    onTheWay = take();
    post('collect', bodyOf(waiting.slice(0, onTheWay))).then((answer) => {
      const status = answer.status;
      if (status > 499 || status === 429 || status === 408) throw status;
      // One event that is refused takes the others with it, unless they go one by one.
      if ((status === 401 || status === 422) && onTheWay > 1) most = 1;
      else if (answer.ok) return true;
      else return problem(answer).then(() => true);
    }).catch(() => ++tries >= MAX_TRIES).then((isOver) => {
      if (isOver) {
        waiting = waiting.slice(onTheWay);
        tries = 0;
      }
      onTheWay = 0;
      if (!waiting.length) most = MAX_EVENTS;
      else timer = setTimeout(flush, tries && 1000 * 2 ** (tries - 1));
    });
  };

  const leave = () => {
    // What is on its way goes on without the page.
    const kept = waiting.slice(0, onTheWay);
    waiting = waiting.slice(onTheWay);
    for (let count; waiting.length; waiting = waiting.slice(count)) {
      count = take();
      if (!navigator.sendBeacon(box + 'collect', bodyOf(waiting.slice(0, count)))) break;
    }
    waiting = kept.concat(waiting);
  };

  // EVENTS
  let who = {}, url, referrer = document.referrer, shown;

  const add = (kind, more) => {
    const text = JSON.stringify({
      kind,
      visitorId,
      ...who,
      ...more,
      context: {
        page: { url: location.href, title: document.title, referrer },
        locale: navigator.language,
      },
      timestamp: new Date().toISOString(),
      messageId: uuid(),
    });
    const size = new Blob([text]).size + 1;
    if (size > MAX_BYTES) return warn('an event has more than ' + MAX_BYTES + ' bytes and was not sent');
    if (waiting.length >= MAX_WAITING) return warn('too many events wait; one was not sent');
    waiting.push({ text, size });
    timer = timer || setTimeout(flush, 20);
  };

  const calls = {
    event: (event, properties) => add('track', { event, properties }),
    page: (properties) => add('page', { properties }),
    identify: ({ userId, email, customerId, authHash, ...traits } = {}) => {
      const id = (value) => value ? String(value) : undefined;
      // Later events of this page are the same person's, with the same proof.
      who = { userId: id(userId), email: id(email), customerId: id(customerId), authHash: id(authHash) };
      add('identify', { traits });
    },
    visitorId: () => visitorId,
  };

  const api = (name, ...rest) => {
    if (refuses && name !== 'visitorId') return;
    try {
      return calls[name](...rest);
    } catch (e) {
      // The page goes on, whatever it asked for.
      warn(name + ': ' + e.message);
    }
  };
  api.loaded = true;
  window.pillarbox = api;

  // As Churnkey's own script has it.
  window.churnkey = window.churnkey || {};
  window.churnkey.event = (event) => refuses ? Promise.resolve() :
    post('v1/api/events/client', JSON.stringify({ appId: source, ...event }))
      .then((answer) => answer.ok ? answer.json() : problem(answer), () => warn('the box could not be reached'));

  if (refuses) return;

  const seen = () => {
    const now = location.pathname + location.search;
    if (now === shown) return;
    shown = now;
    if (url) referrer = url;
    url = location.href;
    add('page');
  };
  for (const change of ['pushState', 'replaceState']) {
    const original = history[change];
    history[change] = function () {
      original.apply(this, arguments);
      seen();
    };
  }
  addEventListener('popstate', seen);
  addEventListener('pagehide', leave);
  document.addEventListener('visibilitychange', () => document.visibilityState === 'hidden' && leave());

  seen();
  for (const call of before.q || []) api(...call);
})();
