// Pillarbox in the browser; the README of the box that it came from says how it is used.
(() => {
  'use strict';
  const warn = (text) => console.warn('pillarbox: ' + text);
  // The page goes on, whatever it asked for.
  const tryTo = (what, name = '') => {
    try {
      return what();
    } catch (e) {
      warn(String(name) + ' ' + e);
    }
  };

  const before = window.pillarbox || {};
  if (before.loaded) return;
  // A module does not know its own tag.
  const tag = [document.currentScript, document.querySelector('script[src][data-source]')]
    .find((tag) => tag && tag.src && tag.dataset.source);
  if (!tag) return warn('no script tag has src and data-source; nothing is sent');
  const box = new URL('.', tag.src).href;
  const source = tag.dataset.source;

  // One request: so many events, and so many bytes as a page may send while it goes away.
  const MAX_EVENTS = 50, MAX_BYTES = 50000;
  // What cannot be sent waits in memory, and is tried again after 1, 2, 4, … seconds.
  const MAX_WAITING = 200, MAX_TRIES = 8;

  const refuses = tag.dataset.respectDnt !== 'false' && (navigator.globalPrivacyControl ||
    [navigator.doNotTrack, navigator.msDoNotTrack, window.doNotTrack].some((said) => /^(1|yes)$/.test(said)));

  const uuid = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  };

  const visitor = () => {
    let id = uuid();
    tryTo(() => {
      const kept = /(?:^|; )_pb_vid=([0-9a-f-]{36})(?:;|$)/.exec(document.cookie);
      if (kept) id = kept[1];
      document.cookie = '_pb_vid=' + id + '; path=/; max-age=31536000; SameSite=Lax' +
        (location.protocol === 'https:' ? '; Secure' : '');
    });
    return id;
  };
  const visitorId = refuses ? undefined : visitor();

  // SENDING. Events wait as text, so that a page that changes an object changes no event. Those of Churnkey's
  // call have somebody who waits for the answer, and go alone.
  let waiting = [], onTheWay = 0, most = MAX_EVENTS, tries = 0, timer;

  const put = (event, done) => {
    // Half an emoji, as a title that was cut may end in, is no text to the box.
    const text = JSON.stringify(event).replace(/\\ud[89a-f]..|\\./g, (found) => found[2] ? '\ufffd' : found);
    const size = new Blob([text]).size + 1;
    const tooMuch = size > MAX_BYTES ? 'an event has more than ' + MAX_BYTES + ' bytes' :
      waiting.length >= MAX_WAITING && 'too many events wait';
    if (tooMuch) throw tooMuch + '; it was not sent';
    waiting.push({ text, size, done });
    timer = timer || setTimeout(flush, 20);
  };

  const take = () => {
    let bytes = 0, count = 0;
    while (count < waiting.length && count < most && !waiting[count].done &&
      (bytes += waiting[count].size) <= MAX_BYTES) count++;
    return waiting.slice(0, count || 1);
  };
  // Where events go, and what is posted there.
  const request = (events) => events[0].done ? [box + 'v1/api/events/client', events[0].text] :
    [box + 'collect', '{"source":' + JSON.stringify(source) + ',"sentAt":"' + new Date().toISOString() +
      '","events":[' + events.map((event) => event.text).join() + ']}'];
  // Takes events out of those that wait.
  const end = (at, count, said) => waiting.splice(at, count).forEach((event) => event.done && event.done(said));

  const flush = () => {
    timer = 0;
    if (onTheWay || !waiting.length) return;
    const events = take(), [url, body] = request(events);
    let isOver = true, said;
    onTheWay = events.length;
    (async () => fetch(url, { method: 'POST', body, keepalive: true, credentials: 'omit' }))().then((answer) => {
      const status = answer.status;
      if (status > 499 || status === 429 || status === 408) throw status;
      // One event that is refused takes the others with it, unless they go one by one.
      if (onTheWay > 1 && [400, 401, 413, 422].includes(status)) {
        most = 1;
        isOver = false;
      } else {
        return answer.json().then((read) => answer.ok ? said = read : warn(read.detail),
          () => answer.ok || warn(status));
      }
    }).catch((e) => {
      isOver = ++tries >= MAX_TRIES;
      if (isOver) warn('the box could not be reached: ' + e);
    }).then(() => {
      if (isOver) {
        end(0, onTheWay, said);
        tries = 0;
      }
      onTheWay = 0;
      if (!waiting.length) most = MAX_EVENTS;
      else timer = setTimeout(flush, tries && 1000 * 2 ** (tries - 1));
    });
  };

  const leave = () => {
    // What is on its way goes on without the page. The rest goes one by one, since nobody hears a refusal.
    while (waiting.length > onTheWay && navigator.sendBeacon(...request([waiting[onTheWay]]))) end(onTheWay, 1);
  };

  // EVENTS
  let who = {}, url, referrer = document.referrer, shown;

  const add = (kind, more) => put({
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
    if (!refuses || name === 'visitorId') return tryTo(() => calls[name](...rest), name);
  };
  api.loaded = true;
  window.pillarbox = api;

  // As Churnkey's own script has it, unless that is there.
  tryTo(() => {
    const churnkey = window.churnkey = window.churnkey || {};
    churnkey.event = churnkey.event || ((event) => new Promise((done) => refuses ? done() :
      put({ appId: source, messageId: uuid(), ...event }, done)).catch(warn));
  });

  if (refuses) return;

  const seen = () => {
    const now = location.pathname + location.search;
    if (now === shown) return;
    shown = now;
    if (url) referrer = url;
    url = location.href;
    api('page');
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
  tryTo(() => Array.from(before.q || []).forEach((call) => tryTo(() => api(...call))));
})();
