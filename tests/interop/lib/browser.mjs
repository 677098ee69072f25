// A browser without a screen: keeps cookies, follows redirects, and fills in the guard's
// sign-in form from its HTML, as a person with a password would.

import { parse } from 'node-html-parser';

import { PASSWORD } from './guard.mjs';

const MAX_STEPS = 6;
const REFUSES = /cancel|deny/i;

export class Browser {
  #cookies = new Map();

  /**
   * Walks from an authorization URL to the address that the guard finally sends the
   * browser to, without going there.
   * @returns {Promise<URL>}
   */
  async signIn(url, { password = PASSWORD, user = 'owner' } = {}) {
    const guard = new URL(url).origin;
    let page = await this.fetch(url, { site: 'none' });
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const onward = page.onward();
      if (onward && onward.origin !== guard) return onward;
      page = onward
        ? await this.fetch(onward, { site: 'same-origin' })
        : await this.submit(page, { password, user });
    }
    throw new Error(`still on the guard's pages after ${MAX_STEPS} steps, at ${page.url}`);
  }

  /** Goes where the guard sends the browser, as a browser does with a loopback client. */
  async deliver(target) {
    const answer = await fetch(target, { redirect: 'manual' });
    await answer.arrayBuffer();
    if (answer.status >= 400) throw new Error(`${target.origin} answered ${answer.status}`);
  }

  async submit(page, answers) {
    const { action, fields } = page.filledForm(answers);
    return this.fetch(action, { site: 'same-origin', form: fields, from: page.url });
  }

  async fetch(url, { site, form, from } = {}) {
    url = new URL(url);
    const headers = { accept: 'text/html', 'sec-fetch-site': site, 'sec-fetch-mode': 'navigate' };
    const cookies = this.#cookies.get(url.hostname);
    if (cookies?.size) headers.cookie = [...cookies].map((pair) => pair.join('=')).join('; ');
    if (form) Object.assign(headers, { origin: url.origin, referer: String(from) });
    const answer = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers,
      redirect: 'manual',
    });
    this.#remember(url.hostname, answer.headers.getSetCookie());
    return new Page(url, answer, await answer.text());
  }

  #remember(host, lines) {
    const cookies = this.#cookies.get(host) ?? new Map();
    for (const line of lines) {
      const [pair, ...attributes] = line.split(';').map((part) => part.trim());
      const split = pair.indexOf('=');
      const name = pair.slice(0, split);
      const gone = attributes.some((attribute) => /^max-age=(0|-.*)$/i.test(attribute));
      if (gone) cookies.delete(name);
      else cookies.set(name, pair.slice(split + 1));
    }
    this.#cookies.set(host, cookies);
  }
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

  filledForm({ password, user }) {
    const form = parse(this.html).querySelector('form');
    if (this.status !== 200 || !form) throw new Error(this.complaint());
    const fields = {};
    for (const input of form.querySelectorAll('input')) {
      const name = input.getAttribute('name');
      const type = (input.getAttribute('type') ?? 'text').toLowerCase();
      if (!name || ['submit', 'button', 'checkbox', 'radio'].includes(type)) continue;
      if (type === 'password') fields[name] = password;
      else if (type === 'hidden') fields[name] = input.getAttribute('value') ?? '';
      else fields[name] = input.getAttribute('value') || user;
    }
    const button = allowing(form);
    if (button?.getAttribute('name')) {
      fields[button.getAttribute('name')] = button.getAttribute('value') ?? '';
    }
    const action = button?.getAttribute('formaction') ?? form.getAttribute('action') ?? '';
    return { action: new URL(action, this.url), fields };
  }

  complaint() {
    const text = parse(this.html).textContent.replace(/\s+/g, ' ').trim().slice(0, 600);
    return `${this.url.pathname} answered ${this.status} and no form: ${text}`;
  }
}

function allowing(form) {
  const buttons = form.querySelectorAll('button, input[type=submit]');
  return buttons.find((button) => !REFUSES.test(`${button.textContent} ${button.getAttribute('value')}`));
}
