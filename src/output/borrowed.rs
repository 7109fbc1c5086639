//! An output that its owner keeps, to look at it when no more events come.

use std::{sync::Arc, time::Duration};

use super::{Askers, Observer, Output, Result, Waiting, Written};
use crate::{
    capture::{Batch, Counted, End, Run},
    stop::Stop,
};

/// All methods of the contract are here, since their defaults do nothing.
impl<O: Output + ?Sized> Output for &mut O {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn is_required(&self) -> bool {
        (**self).is_required()
    }

    fn waits(&mut self, why: &Waiting<'_>) {
        (**self).waits(why);
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        (**self).run_begins(run)
    }

    fn run_goes_on(&mut self, run: &Arc<Run>) {
        (**self).run_goes_on(run);
    }

    fn observer<'a>(&'a mut self, batch: &'a Batch) -> Option<Observer<'a>> {
        (**self).observer(batch)
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        (**self).batch(batch)
    }

    fn unread(&mut self, batch: &Batch) {
        (**self).unread(batch);
    }

    fn run_ends(&mut self, counted: &Counted, end: End) -> Result {
        (**self).run_ends(counted, end)
    }

    fn idle(&mut self) {
        (**self).idle();
    }

    fn over(&mut self) {
        (**self).over();
    }

    fn finish(&mut self, stop: &Stop) -> Result {
        (**self).finish(stop)
    }

    fn is_done(&self) -> bool {
        (**self).is_done()
    }

    fn patience(&self) -> Duration {
        (**self).patience()
    }

    fn wants_whole_payloads(&self) -> bool {
        (**self).wants_whole_payloads()
    }

    fn payloads_are_whole(&mut self) {
        (**self).payloads_are_whole();
    }

    fn askers(&self) -> Option<Box<dyn Askers>> {
        (**self).askers()
    }

    fn written(&self) -> Option<Written> {
        (**self).written()
    }

    fn others(&mut self, others: &[(&str, Written)]) {
        (**self).others(others);
    }
}

#[cfg(test)]
mod tests {
    /// The names of the methods of the first block that begins so.
    fn methods<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
        let (_, block) = text.split_once(beginning).unwrap();
        let (block, _) = block.split_once("\n}\n").unwrap();
        block.lines().filter_map(|line| line.strip_prefix("    fn ")?.split(['(', '<']).next()).collect()
    }

    #[test]
    fn each_method_of_the_contract_is_passed_on() {
        let contract = methods(include_str!("../output.rs"), "\npub trait Output {");
        assert!(contract.len() > 15, "{contract:?}");
        assert_eq!(methods(include_str!("borrowed.rs"), "> Output for &mut O {"), contract);
    }
}
