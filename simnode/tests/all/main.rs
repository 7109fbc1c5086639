//! What the simulated node promises: its tracepoints are those of each release, its payloads decode, its exchanges make
//! sense, and its tally is what it fired.

mod exchanges;
mod notes;
mod payloads;
mod recorder;
mod runs;
mod sense;
mod table;
