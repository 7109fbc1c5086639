//! The simulated node with the tracepoints of layout v26.

simnode::simulated_node!();
