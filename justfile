# The recurring commands. `just --list` shows them.

# everything that is fast
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test

# real clients, the conformance suite, a browser (installs what it needs below tests/interop)
interop:
    cargo build --release
    cargo build --example conformance_server
    npm ci --prefix tests/interop
    tests/interop/run

# speed and memory against a bare server and other bridges
bench:
    benches/run

# licences, bans and sources of all dependencies
deny:
    cargo deny check bans licenses sources

# what is published for this machine's architecture, in dist/ (needs musl-tools)
release:
    release/run
    release/check
