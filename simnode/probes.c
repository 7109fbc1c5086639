// The tracepoints of Bitcoin Core in one of its releases.
//
// In: LAYOUT, the release, from the compiler's command line; the table of tracepoints, `tracepoints.h`, which
// build/header.rs makes. Out: `simnode_probes()`, with one function for each tracepoint, or NULL if the release lacks
// it. Providers, names, order, widths and signs of the arguments are those of Bitcoin Core (doc/tracing.md there).
//
// LAYOUT 27 is v27 with the patch that gave it connection tracepoints before v29 had them, with five arguments for
// net:misbehaving_connection.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef LAYOUT
#error "LAYOUT is 23, 25, 26, 27, 29 or 31"
#endif

#define HAS_COIN_SELECTION (LAYOUT >= 24)
#define HAS_MEMPOOL (LAYOUT >= 25)
#define HAS_CONNECTIONS (LAYOUT >= 27)
#define HAS_SEMAPHORES (LAYOUT >= 29)
#define IS_PATCHED (LAYOUT == 27)

#if HAS_SEMAPHORES
#define _SDT_HAS_SEMAPHORES 1
#endif
#define SDT_USE_VARIADIC 1

#if HAS_SEMAPHORES
// The tracer counts itself in here; at zero the tracepoint is not executed.
#define SEMAPHORE(provider, name) unsigned short provider##_##name##_semaphore __attribute__((section(".probes")))
#define ATTACHED(provider, name) (provider##_##name##_semaphore > 0)
#else
#define SEMAPHORE(provider, name) _Static_assert(true, "no semaphores before v29")
#define ATTACHED(provider, name) true
#endif

// Semaphores come before the header that uses them; the functions of the table come below.
#include "tracepoints.h"

#include <sys/sdt.h>

#define FIRE(provider, name, ...)                                                                                      \
	do {                                                                                                           \
		if (ATTACHED(provider, name)) {                                                                        \
			STAP_PROBEV(provider, name, __VA_ARGS__);                                                      \
		}                                                                                                      \
	} while (0)

// The type of a transaction's virtual size.
#if LAYOUT >= 26
typedef int32_t vsize_t;
#else
typedef uint64_t vsize_t;
#endif

static void inbound_message(int64_t peer, const char *address, const char *connection_type, const char *command,
			    size_t size, const unsigned char *payload)
{
	FIRE(net, inbound_message, peer, address, connection_type, command, size, payload);
}

static void outbound_message(int64_t peer, const char *address, const char *connection_type, const char *command,
			     size_t size, const unsigned char *payload)
{
	FIRE(net, outbound_message, peer, address, connection_type, command, size, payload);
}

#if HAS_CONNECTIONS
static void inbound_connection(int64_t peer, const char *address, const char *connection_type, uint32_t network,
			       size_t existing)
{
	FIRE(net, inbound_connection, peer, address, connection_type, network, existing);
}

static void outbound_connection(int64_t peer, const char *address, const char *connection_type, uint32_t network,
				size_t existing)
{
	FIRE(net, outbound_connection, peer, address, connection_type, network, existing);
}

static void evicted_inbound_connection(int64_t peer, const char *address, const char *connection_type, uint32_t network,
				       int64_t established)
{
	FIRE(net, evicted_inbound_connection, peer, address, connection_type, network, established);
}

static void closed_connection(int64_t peer, const char *address, const char *connection_type, uint32_t network,
			      int64_t established)
{
	FIRE(net, closed_connection, peer, address, connection_type, network, established);
}

// Only the patched v27 fires the scores.
static void misbehaving_connection(int64_t peer, int32_t score_before, int32_t score_increase, const char *reason,
				   bool threshold_exceeded)
{
#if IS_PATCHED
	FIRE(net, misbehaving_connection, peer, score_before, score_increase, reason, threshold_exceeded);
#else
	(void)score_before;
	(void)score_increase;
	(void)threshold_exceeded;
	FIRE(net, misbehaving_connection, peer, reason);
#endif
}
#endif

static void block_connected(const unsigned char *hash, int32_t height, uint64_t transactions, int32_t inputs,
			    int64_t sigops, int64_t nanoseconds)
{
#if LAYOUT >= 25
	int64_t duration = nanoseconds;
#else
	int64_t duration = nanoseconds / 1000;
#endif
	FIRE(validation, block_connected, hash, height, transactions, inputs, sigops, duration);
}

static void utxocache_flush(int64_t microseconds, uint32_t mode, uint64_t coins, uint64_t bytes, bool for_prune)
{
	FIRE(utxocache, flush, microseconds, mode, coins, bytes, for_prune);
}

static void utxocache_add(const unsigned char *txid, uint32_t output, uint32_t height, int64_t value, bool coinbase)
{
	FIRE(utxocache, add, txid, output, height, value, coinbase);
}

static void utxocache_spent(const unsigned char *txid, uint32_t output, uint32_t height, int64_t value, bool coinbase)
{
	FIRE(utxocache, spent, txid, output, height, value, coinbase);
}

static void utxocache_uncache(const unsigned char *txid, uint32_t output, uint32_t height, int64_t value, bool coinbase)
{
	FIRE(utxocache, uncache, txid, output, height, value, coinbase);
}

#if HAS_COIN_SELECTION
static void selected_coins(const char *wallet, const char *algorithm, int64_t target, int64_t waste, int64_t selected)
{
	FIRE(coin_selection, selected_coins, wallet, algorithm, target, waste, selected);
}

static void normal_create_tx(const char *wallet, bool success, int64_t fee, int32_t change_position)
{
	FIRE(coin_selection, normal_create_tx_internal, wallet, success, fee, change_position);
}

static void attempting_aps(const char *wallet)
{
	FIRE(coin_selection, attempting_aps_create_tx, wallet);
}

static void aps_create_tx(const char *wallet, bool use_aps, bool success, int64_t fee, int32_t change_position)
{
	FIRE(coin_selection, aps_create_tx_internal, wallet, use_aps, success, fee, change_position);
}
#endif

#if HAS_MEMPOOL
static void mempool_added(const unsigned char *txid, int32_t vbytes, int64_t fee)
{
	vsize_t vsize = (vsize_t)vbytes;
	FIRE(mempool, added, txid, vsize, fee);
}

static void mempool_removed(const unsigned char *txid, const char *reason, int32_t vbytes, int64_t fee,
			    uint64_t entry_time)
{
	vsize_t vsize = (vsize_t)vbytes;
	FIRE(mempool, removed, txid, reason, vsize, fee, entry_time);
}

static void mempool_replaced(const unsigned char *txid, int32_t vbytes, int64_t fee, uint64_t entry_time,
			     const unsigned char *new_id, int32_t new_vbytes, int64_t new_fee, bool new_id_is_txid)
{
	vsize_t vsize = (vsize_t)vbytes;
	vsize_t new_vsize = (vsize_t)new_vbytes;
#if LAYOUT >= 29
	FIRE(mempool, replaced, txid, vsize, fee, entry_time, new_id, new_vsize, new_fee, new_id_is_txid);
#else
	(void)new_id_is_txid;
	FIRE(mempool, replaced, txid, vsize, fee, entry_time, new_id, new_vsize, new_fee);
#endif
}

static void mempool_rejected(const unsigned char *txid, const char *reason)
{
	FIRE(mempool, rejected, txid, reason);
}
#endif

const struct probes *simnode_probes(void);

const struct probes *simnode_probes(void)
{
	return &probes;
}
