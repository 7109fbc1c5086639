/* The part of a selection that is decided here, before anything is copied; the reader decides the rest. In: a peer, a
 * type of connection, a command. Out: whether it is wanted. */
#ifndef BITCOINTAP_SELECTION_H
#define BITCOINTAP_SELECTION_H

#define COMMAND_SIZE 16

/* Everything is set before loading, so that the verifier drops code for conditions that nobody asked for. */
enum listed {
	/* All values are wanted. */
	NOT_LISTED,
	/* The values in the map are wanted. */
	ONLY_LISTED,
	/* The values that are not in the map are wanted. */
	NONE_LISTED,
};

const volatile __u32 peers_listed = NOT_LISTED;
const volatile __u32 commands_listed = NOT_LISTED;
/* A bit for each of enum connection_type. */
const volatile __u32 connection_types = ~0;
const volatile __u64 min_size = 0;
const volatile __u64 max_size = ~0ULL;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set again before loading, as is that of commands */
	__type(key, __s64);
	__type(value, __u8);
} peers SEC(".maps");

struct command {
	__u8 name[COMMAND_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct command);
	__type(value, __u8);
} commands SEC(".maps");

EXPORT(enum, listed);

static __always_inline int is_wanted(__u32 listed, void *map, const void *key)
{
	int is_listed;

	if (listed == NOT_LISTED)
		return 1;
	is_listed = bpf_map_lookup_elem(map, key) != 0;
	return listed == ONLY_LISTED ? is_listed : !is_listed;
}

static __always_inline int is_wanted_peer(const __s64 *peer_id)
{
	return is_wanted(peers_listed, &peers, peer_id);
}

static __always_inline int is_wanted_type(__u8 type)
{
	return connection_types >> type & 1;
}

#endif
