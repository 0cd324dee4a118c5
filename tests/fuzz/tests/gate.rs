//! A short run of every target, in a process of its own as the long ones are.

use std::path::Path;

use drover_fuzz::parent;
use drover_fuzz::run::Inputs;
use drover_fuzz::targets;

/// The long run is a stage of the gate, in a build that is optimised.
const RUNS: u64 = 1500;

#[test]
fn no_target_fails() {
    let program = Path::new(env!("CARGO_BIN_EXE_drover-fuzz"));
    for target in targets::ALL {
        parent::run(program, target, Inputs { seed: 3, from: 0, runs: RUNS }).expect(target.word);
    }
}
