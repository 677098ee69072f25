// A browser without a screen: keeps cookies, follows redirects, and fills in forms from their
// HTML, as a person would: the guard's own, and those of the identity provider that the person
// signs in with.

import { parse } from 'node-html-parser';

import { PASSWORD } from './guard.mjs';

const MAX_STEPS = 20;
const REFUSES = /cancel|deny/i;

const OWNER = { user: 'owner', password: PASSWORD };

export class Browser {
  #cookies = new Map();

  /**
   * Walks from an authorization URL to the address that the guard finally sends the
   * browser to, without going there.
   * @returns {Promise<URL>}
   */
  async signIn(url, person = OWNER) {
    const { target, page } = await this.walk(url, person);
    if (!target) throw new Error(page.complaint());
    return target;
  }

  /**
   * The same, wherever it ends: `target` is where the client is told, or `page` the one that
   * leads no further.
   * @param {object} person
   * @param {string} person.user  what they type as their name
   * @param {string} person.password
   * @param {string} [person.through]  on the button of the provider that they sign in with
   * @param {string[]} [person.origins]  whose pages they sign in on besides the guard's
   */
  async walk(url, person) {
    const page = await this.open(url);
    return this.walkOn(page, person);
  }

  async walkOn(page, { user, password, through, origins = [] }) {
    const guard = new URL(page.start).origin;
    const home = [guard, ...origins];
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const onward = page.onward();
      if (onward && !home.includes(onward.origin)) return { target: onward };
      if (onward) {
        page = await this.follow(page, onward);
        continue;
      }
      const isGuard = page.url.origin === guard;
      const form = isGuard && through ? page.form(button(through)) : page.form(signsIn) ?? page.form(allows);
      if (page.status !== 200 || !form) return { page };
      page = await this.submit(page, form.filled(isGuard && through ? {} : { user, password }));
    }
    throw new Error(`still on the way after ${MAX_STEPS} steps, at ${page.url}`);
  }

  /** Presses the button with this text; gives where that leads. */
  async press(page, text, answers = {}) {
    const form = page.form(button(text));
    if (!form) throw new Error(`no button ${text}: ${page.complaint()}`);
    return this.submit(page, form.filled(answers));
  }

  /** What a person typed, clicked in another program, or loads again. */
  async open(url, start = url) {
    return this.#fetch(url, { sites: [], start });
  }

  async follow(page, onward) {
    return this.#fetch(onward, { sites: page.sites, start: page.start });
  }

  async submit(page, { action, fields }) {
    return this.#fetch(action, { sites: [page.url.hostname], start: page.start, form: fields, from: page.url });
  }

  /** Goes where the guard sends the browser, as a browser does with a loopback client. */
  async deliver(target) {
    const answer = await fetch(target, { redirect: 'manual' });
    await answer.arrayBuffer();
    if (answer.status >= 400) throw new Error(`${target.origin} answered ${answer.status}`);
  }

  /** `sites`: through which hosts it came here; none when a person began here. */
  async #fetch(url, { sites, start, form, from }) {
    url = new URL(url);
    const headers = { accept: 'text/html', 'sec-fetch-site': siteOf(url, sites), 'sec-fetch-mode': 'navigate' };
    const cookies = this.#cookies.get(url.hostname);
    if (cookies?.size) headers.cookie = [...cookies].map((pair) => pair.join('=')).join('; ');
    if (form) Object.assign(headers, { origin: new URL(from).origin, referer: String(from) });
    const answer = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers,
      redirect: 'manual',
    });
    this.#remember(url.hostname, answer.headers.getSetCookie());
    const page = new Page(url, answer, await answer.text());
    return Object.assign(page, { start, sites: sites.length > 0 ? [...sites, url.hostname] : sites });
  }

  #remember(host, lines) {
    const cookies = this.#cookies.get(host) ?? new Map();
    for (const line of lines) {
      const [pair, ...attributes] = line.split(';').map((part) => part.trim());
      const split = pair.indexOf('=');
      const name = pair.slice(0, split);
      if (attributes.some(isGone)) cookies.delete(name);
      else cookies.set(name, pair.slice(split + 1));
    }
    this.#cookies.set(host, cookies);
  }
}

function siteOf(url, sites) {
  if (sites.length === 0) return 'none';
  return sites.every((site) => site === url.hostname) ? 'same-origin' : 'cross-site';
}

function isGone(attribute) {
  const [name, value = ''] = attribute.split('=');
  if (/^max-age$/i.test(name)) return Number(value) <= 0;
  return /^expires$/i.test(name) && Date.parse(value) <= Date.now();
}

class Page {
  constructor(url, answer, html) {
    this.url = url;
    this.status = answer.status;
    this.headers = answer.headers;
    this.html = html;
  }

  /** Where the answer itself sends the browser: a redirect, or a page that refreshes. */
  onward() {
    const location = this.headers.get('location');
    if (this.status >= 300 && this.status < 400 && location) return new URL(location, this.url);
    const refresh = parse(this.html).querySelector('meta[http-equiv="refresh" i]');
    const target = refresh?.getAttribute('content')?.match(/url\s*=\s*['"]?([^'"]+)/i)?.[1];
    return target ? new URL(target, this.url) : null;
  }

  /** The form of the first button that `wanted` says yes to. */
  form(wanted) {
    const root = parse(this.html);
    const pressed = root.querySelectorAll('button, input[type=submit]').find(wanted);
    const id = pressed?.getAttribute('form');
    const form = id ? root.getElementById(id) : pressed?.closest('form');
    return form && new Form(this.url, pressed, form);
  }

  text() {
    const root = parse(this.html);
    for (const unseen of root.querySelectorAll('style, script')) unseen.remove();
    return root.textContent.replace(/\s+/g, ' ').trim();
  }

  complaint() {
    return `${this.url.pathname} answered ${this.status}: ${this.text().slice(0, 600)}`;
  }
}

class Form {
  constructor(url, pressed, form) {
    this.url = url;
    this.pressed = pressed;
    this.form = form;
  }

  /** What is sent when `user` and `password` are typed where they belong. */
  filled({ user = '', password = '' }) {
    const fields = {};
    for (const input of this.form.querySelectorAll('input')) {
      const name = input.getAttribute('name');
      const type = (input.getAttribute('type') ?? 'text').toLowerCase();
      if (!name || ['submit', 'button', 'checkbox', 'radio'].includes(type)) continue;
      if (type === 'password') fields[name] = password;
      else if (type === 'hidden') fields[name] = input.getAttribute('value') ?? '';
      else fields[name] = input.getAttribute('value') || user;
    }
    const name = this.pressed.getAttribute('name');
    if (name) fields[name] = this.pressed.getAttribute('value') ?? '';
    const action = this.pressed.getAttribute('formaction') ?? this.form.getAttribute('action') ?? '';
    return { action: new URL(action || this.url, this.url), fields };
  }
}

const labelOf = (pressed) => `${pressed.textContent} ${pressed.getAttribute('value') ?? ''}`;

const allows = (pressed) => !REFUSES.test(labelOf(pressed));

/** Before a button that only leads elsewhere: what they know is a password. */
const signsIn = (pressed) => allows(pressed) && pressed.closest('form')?.querySelector('input[type=password]');

const button = (text) => (pressed) => labelOf(pressed).toLowerCase().includes(text.toLowerCase());
