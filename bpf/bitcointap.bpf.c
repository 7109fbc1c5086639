/* The only translation unit of the kernel side: one program for each tracepoint of Bitcoin Core (doc/tracing.md
 * there). User space attaches it as a USDT probe of that name. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>

#include "event.h"
#include "selection.h"
#include "payloads.h"
#include "net.h"
#include "mempool.h"
#include "validation.h"
#include "utxocache.h"
#include "coin_selection.h"

/* The kernel offers the helpers used here only to programs under a GPL-compatible licence. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
