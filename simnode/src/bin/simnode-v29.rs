//! The simulated node with the tracepoints of layout v29.

simnode::simulated_node!();
