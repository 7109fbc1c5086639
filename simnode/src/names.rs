//! The names that events carry, as small numbers for the tally and as C texts for the tracepoints.

use std::ffi::CStr;

/// Defines an enum with a C text for each variant.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every variant, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Bitcoin Core's name.
            pub fn c_name(self) -> &'static CStr {
                match self { $(Self::$variant => $text,)* }
            }

            /// Bitcoin Core's name.
            pub fn name(self) -> &'static str {
                self.c_name().to_str().expect("names are ASCII")
            }
        }
    };
}

macro_rules! tracepoints {
    ($(
        $variant:ident: $name:literal, since $since:literal,
            $function:ident($($parameter:ident: $type:ident),+ $(,)?) $(, $differs:ident)?;
    )*) => {
        names! {
            /// The tracepoints that Bitcoin Core documents.
            Tracepoint { $($variant = $name,)* }
        }
    };
}

include!("table.rs");

names! {
    /// The direction of a message, or who opened a connection.
    Direction {
        Inbound = c"inbound",
        Outbound = c"outbound",
    }
}

names! {
    /// What one side requests from the other.
    #[derive(Hash)]
    Request {
        GetdataTx = c"getdata_tx",
        GetdataBlock = c"getdata_block",
        Getheaders = c"getheaders",
        Getblocktxn = c"getblocktxn",
    }
}

names! {
    /// Who answers a request.
    #[derive(Hash)]
    Responder {
        Peer = c"peer",
        Node = c"node",
    }
}

names! {
    /// Bitcoin Core's connection types.
    #[derive(Hash)]
    ConnectionType {
        Inbound = c"inbound",
        OutboundFullRelay = c"outbound-full-relay",
        BlockRelayOnly = c"block-relay-only",
        Manual = c"manual",
        Feeler = c"feeler",
        AddrFetch = c"addr-fetch",
        /// Since v31.
        PrivateBroadcast = c"private-broadcast",
    }
}

impl ConnectionType {
    /// Who opened a connection of this type.
    pub fn direction(self) -> Direction {
        match self {
            Self::Inbound => Direction::Inbound,
            _ => Direction::Outbound,
        }
    }
}

names! {
    /// Networks, with the numbers that the tracepoints carry.
    Network {
        Unroutable = c"unroutable",
        Ipv4 = c"ipv4",
        Ipv6 = c"ipv6",
        Onion = c"onion",
        I2p = c"i2p",
        Cjdns = c"cjdns",
        Internal = c"internal",
    }
}

names! {
    /// Why a transaction left the mempool.
    RemovalReason {
        Expiry = c"expiry",
        SizeLimit = c"sizelimit",
        Reorg = c"reorg",
        Block = c"block",
        Conflict = c"conflict",
        Replaced = c"replaced",
    }
}

names! {
    /// The commands that the scenarios fire. The last three are unknown to Bitcoin Core and to the `bitcoin` crate.
    Command {
        Version = c"version",
        Verack = c"verack",
        Wtxidrelay = c"wtxidrelay",
        Sendaddrv2 = c"sendaddrv2",
        Sendheaders = c"sendheaders",
        Sendcmpct = c"sendcmpct",
        Feefilter = c"feefilter",
        Sendtxrcncl = c"sendtxrcncl",
        Feature = c"feature",
        Ping = c"ping",
        Pong = c"pong",
        Inv = c"inv",
        Getdata = c"getdata",
        Notfound = c"notfound",
        Tx = c"tx",
        Block = c"block",
        Cmpctblock = c"cmpctblock",
        Getblocktxn = c"getblocktxn",
        Blocktxn = c"blocktxn",
        Headers = c"headers",
        Getheaders = c"getheaders",
        Getblocks = c"getblocks",
        Getaddr = c"getaddr",
        Addr = c"addr",
        Addrv2 = c"addrv2",
        Mempool = c"mempool",
        Filterload = c"filterload",
        Filteradd = c"filteradd",
        Filterclear = c"filterclear",
        Merkleblock = c"merkleblock",
        Getcfilters = c"getcfilters",
        Cfilter = c"cfilter",
        Getcfheaders = c"getcfheaders",
        Cfheaders = c"cfheaders",
        Getcfcheckpt = c"getcfcheckpt",
        Cfcheckpt = c"cfcheckpt",
        Alert = c"alert",
        Reject = c"reject",
        UnknownTwelve = c"xyzunknown12",
        UnknownProtoconf = c"protoconf",
        UnknownShort = c"x",
    }
}

names! {
    /// What becomes of a connection.
    ConnectionEvent {
        Opened = c"opened",
        Closed = c"closed",
        Evicted = c"evicted",
    }
}

names! {
    /// Why the UTXO cache was asked to flush. The numbers that the tracepoint carries are [`FlushMode::number`]'s.
    FlushMode {
        None = c"NONE",
        IfNeeded = c"IF_NEEDED",
        Periodic = c"PERIODIC",
        /// Until v31.
        Always = c"ALWAYS",
        /// Since v31.
        ForceFlush = c"FORCE_FLUSH",
        /// Since v31.
        ForceSync = c"FORCE_SYNC",
    }
}

impl FlushMode {
    /// The number that the tracepoint carries.
    pub fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::IfNeeded => 1,
            Self::Periodic => 2,
            Self::Always | Self::ForceFlush => 3,
            Self::ForceSync => 4,
        }
    }
}

names! {
    /// Why a peer is misbehaving: texts of Bitcoin Core, some with numbers in them.
    Misbehaviour {
        HeadersPow = c"header with invalid proof of work",
        HeadersGap = c"non-continuous headers sequence",
        InvSize = c"inv message size = 50001",
        InvSizeLarger = c"inv message size = 72113",
        GetdataSize = c"getdata message size = 50014",
        HeadersSize = c"headers message size = 2001",
        AddrSize = c"addr message size = 1001",
        Addrv2Size = c"addrv2 message size = 1337",
        CompactBlock = c"invalid compact block",
        CompactBlockTransactions = c"invalid compact block/non-matching block transactions",
        GetblocktxnIndex = c"getblocktxn with out-of-bounds tx indices",
        MutatedBlock = c"mutated block",
        BloomFilter = c"too-large bloom filter",
        Filteradd = c"bad filteradd message",
        Sendcmpct = c"invalid sendcmpct announce field",
    }
}

names! {
    /// Why a transaction was rejected: texts of Bitcoin Core, one of the greatest length, 118.
    Rejection {
        Missing = c"bad-txns-inputs-missingorspent",
        AlreadyIn = c"txn-already-in-mempool",
        AlreadyKnown = c"txn-already-known",
        SameNonWitness = c"txn-same-nonwitness-data-in-mempool",
        Conflict = c"txn-mempool-conflict",
        RelayFee = c"min relay fee not met",
        RelayFeeNumbers = c"min relay fee not met, 141 < 222",
        RelayFeeOtherNumbers = c"min relay fee not met, 96 < 111",
        MempoolFee = c"mempool min fee not met",
        MempoolFull = c"mempool full",
        InsufficientFee = c"insufficient fee",
        ReplacementFailed = c"replacement-failed",
        TooManyReplacements = c"too many potential replacements",
        SpendsConflicting = c"bad-txns-spends-conflicting-tx",
        Chain = c"too-long-mempool-chain",
        Dust = c"dust",
        ScriptPubkey = c"scriptpubkey",
        Version = c"version",
        NonFinal = c"non-final",
        NonBip68Final = c"non-BIP68-final",
        Datacarrier = c"datacarrier",
        BareMultisig = c"bare-multisig",
        WitnessNonstandard = c"bad-witness-nonstandard",
        Truc = c"TRUC-violation",
        Script = c"mandatory-script-verify-flag-failed (Invalid Schnorr signature)",
        ScriptLongest = c"mandatory-script-verify-flag-failed (Script evaluated without error but finished with a false/empty top stack element)",
    }
}

names! {
    /// How coins were selected.
    CoinSelection {
        BranchAndBound = c"bnb",
        Knapsack = c"knapsack",
        SingleRandomDraw = c"srd",
        CoinGrinder = c"cg",
        Manual = c"manual",
    }
}
