/* The floor: the cost of a trap with a program that does nothing and reads no arguments. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
/* Attaching needs its maps. */
#include <bpf/usdt.bpf.h>

/* Sleepable, like the programs of bitcointap. */
SEC("usdt.s")
int empty(struct pt_regs *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
