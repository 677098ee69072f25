// Runs promises to the user one after another, prints a line for each, and counts.

export class Checks {
  passed = 0;
  failed = 0;
  skipped = 0;

  /**
   * @param {string} name      what is promised
   * @param {() => Promise<unknown>} keep  throws when the promise is broken
   * @returns whether it was kept
   */
  async promise(name, keep, { within = 60_000 } = {}) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done within ${within / 1000} s`)), within);
    });
    try {
      await Promise.race([keep(), late]);
      this.ok(name);
      return true;
    } catch (error) {
      this.notOk(name, error);
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Runs a group of promises; what goes wrong between them is a failure of the group. */
  async group(name, run) {
    try {
      await run();
    } catch (error) {
      this.notOk(`${name}: runs to its end`, error);
    }
  }

  ok(name) {
    this.passed += 1;
    console.log(`ok ${name}`);
  }

  notOk(name, error) {
    this.failed += 1;
    console.log(`not ok ${name}`);
    for (const line of describe(error).split('\n')) console.log(`    ${line}`);
  }

  /** A missing external program. */
  missing(name, program) {
    this.impossible(name, `${program} is not installed`);
  }

  /** What cannot be tried: one line here, a failure where everything must be possible. */
  impossible(name, why) {
    if (process.env.CI === 'true') {
      this.notOk(name, new Error(why));
      return;
    }
    this.skipped += 1;
    console.log(`skip ${name}: ${why}`);
  }

  summary() {
    const skipped = this.skipped > 0 ? `, ${this.skipped} skipped` : '';
    return `${this.passed} passed, ${this.failed} failed${skipped}`;
  }
}

function describe(error) {
  const parts = [];
  for (let cause = error; cause && parts.length < 4; cause = cause.cause) {
    parts.push(cause.message || String(cause));
  }
  return parts.join('\n').slice(0, 4000);
}

export function expect(condition, complaint) {
  if (!condition) throw new Error(complaint);
}

export function expectEqual(actual, wanted, what) {
  if (actual !== wanted) {
    throw new Error(`${what}: wanted ${JSON.stringify(wanted)}, got ${JSON.stringify(actual)}`);
  }
}
