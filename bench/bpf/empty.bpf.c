/* The floor: what a trap costs whose program does nothing and takes no arguments. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
/* Its maps are what attaching takes. */
#include <bpf/usdt.bpf.h>

/* Sleepable, as those of bitcointap are. */
SEC("usdt.s")
int empty(struct pt_regs *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
