//! The simulated node with the tracepoints of layout v31.

simnode::simulated_node!();
