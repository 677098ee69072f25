//! app

use crate::config::Config;

/// Runs the guard; `ready` is called once its listeners are bound.
pub fn run(config: Config, ready: impl FnOnce(&Config)) -> anyhow::Result<()> {
    ready(&config);
    Ok(())
}
