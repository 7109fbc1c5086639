//! The simulated node with the tracepoints of layout v23.

simnode::simulated_node!();
