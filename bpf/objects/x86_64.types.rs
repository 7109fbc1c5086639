pub mod types {
        #[allow(unused_imports)]
        use super::*;
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct __bpf_usdt_spec {
            pub args: [__bpf_usdt_arg_spec; 12],
            pub usdt_cookie: u64,
            pub arg_cnt: i16,
            pub __pad_298: [u8; 6],
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __bpf_usdt_arg_spec {
            pub val_off: u64,
            pub __pad_8: [u8; 6],
            pub reg_off: i16,
            pub arg_signed: std::mem::MaybeUninit<bool>,
            pub arg_bitshift: i8,
            pub __pad_18: [u8; 6],
        }
        impl Default for __bpf_usdt_arg_spec {
            fn default() -> Self {
                Self {
                    val_off: u64::default(),
                    __pad_8: [u8::default(); 6],
                    reg_off: i16::default(),
                    arg_signed: std::mem::MaybeUninit::new(bool::default()),
                    arg_bitshift: i8::default(),
                    __pad_18: [u8::default(); 6],
                }
            }
        }
        #[derive(Debug, Copy, Clone, Eq, PartialEq)]
        #[repr(transparent)]
        pub struct __bpf_usdt_arg_type(pub u32);
        #[allow(non_upper_case_globals)]
        impl __bpf_usdt_arg_type {
            pub const BPF_USDT_ARG_CONST: Self = Self(0);
            pub const BPF_USDT_ARG_REG: Self = Self(1);
            pub const BPF_USDT_ARG_REG_DEREF: Self = Self(2);
            pub const BPF_USDT_ARG_SIB: Self = Self(3);
        }
        impl Default for __bpf_usdt_arg_type {
            fn default() -> Self {
                Self::BPF_USDT_ARG_CONST
            }
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __anon_1 {
            pub r#type: *mut [i32; 2],
            pub max_entries: *mut [i32; 256],
            pub key: *mut i32,
            pub value: *mut __bpf_usdt_spec,
        }
        impl Default for __anon_1 {
            fn default() -> Self {
                Self {
                    r#type: std::ptr::null_mut(),
                    max_entries: std::ptr::null_mut(),
                    key: std::ptr::null_mut(),
                    value: std::ptr::null_mut(),
                }
            }
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __anon_2 {
            pub r#type: *mut [i32; 1],
            pub max_entries: *mut [i32; 1024],
            pub key: *mut i64,
            pub value: *mut u32,
        }
        impl Default for __anon_2 {
            fn default() -> Self {
                Self {
                    r#type: std::ptr::null_mut(),
                    max_entries: std::ptr::null_mut(),
                    key: std::ptr::null_mut(),
                    value: std::ptr::null_mut(),
                }
            }
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __anon_3 {
            pub r#type: *mut [i32; 27],
            pub max_entries: *mut [i32; 16777216],
        }
        impl Default for __anon_3 {
            fn default() -> Self {
                Self { r#type: std::ptr::null_mut(), max_entries: std::ptr::null_mut() }
            }
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __anon_4 {
            pub r#type: *mut [i32; 1],
            pub max_entries: *mut [i32; 1],
            pub key: *mut i64,
            pub value: *mut u8,
        }
        impl Default for __anon_4 {
            fn default() -> Self {
                Self {
                    r#type: std::ptr::null_mut(),
                    max_entries: std::ptr::null_mut(),
                    key: std::ptr::null_mut(),
                    value: std::ptr::null_mut(),
                }
            }
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct command {
            pub name: [u8; 16],
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __anon_5 {
            pub r#type: *mut [i32; 1],
            pub max_entries: *mut [i32; 1],
            pub key: *mut command,
            pub value: *mut u8,
        }
        impl Default for __anon_5 {
            fn default() -> Self {
                Self {
                    r#type: std::ptr::null_mut(),
                    max_entries: std::ptr::null_mut(),
                    key: std::ptr::null_mut(),
                    value: std::ptr::null_mut(),
                }
            }
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __anon_6 {
            pub r#type: *mut [i32; 1],
            pub max_entries: *mut [i32; 1],
            pub key: *mut command,
            pub value: *mut u32,
        }
        impl Default for __anon_6 {
            fn default() -> Self {
                Self {
                    r#type: std::ptr::null_mut(),
                    max_entries: std::ptr::null_mut(),
                    key: std::ptr::null_mut(),
                    value: std::ptr::null_mut(),
                }
            }
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct __anon_7 {
            pub r#type: *mut [i32; 2],
            pub max_entries: *mut [i32; 4096],
            pub key: *mut u32,
            pub value: *mut u64,
        }
        impl Default for __anon_7 {
            fn default() -> Self {
                Self {
                    r#type: std::ptr::null_mut(),
                    max_entries: std::ptr::null_mut(),
                    key: std::ptr::null_mut(),
                    value: std::ptr::null_mut(),
                }
            }
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct pt_regs {
            pub r15: u64,
            pub r14: u64,
            pub r13: u64,
            pub r12: u64,
            pub rbp: u64,
            pub rbx: u64,
            pub r11: u64,
            pub r10: u64,
            pub r9: u64,
            pub r8: u64,
            pub rax: u64,
            pub rcx: u64,
            pub rdx: u64,
            pub rsi: u64,
            pub rdi: u64,
            pub orig_rax: u64,
            pub rip: u64,
            pub cs: u64,
            pub eflags: u64,
            pub rsp: u64,
            pub ss: u64,
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct big_copy {
            pub to: *mut std::ffi::c_void,
            pub offset: u64,
            pub from: *mut std::ffi::c_void,
            pub error: i64,
        }
        impl Default for big_copy {
            fn default() -> Self {
                Self {
                    to: std::ptr::null_mut(),
                    offset: u64::default(),
                    from: std::ptr::null_mut(),
                    error: i64::default(),
                }
            }
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct tracepoint_counters {
            pub fired: u64,
            pub filtered: u64,
            pub value: u64,
            pub lost: [u64; 2],
            pub untold: [u32; 2],
            pub __pad_48: [u8; 16],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct argument_place {
            pub offset: i64,
            pub place: u8,
            pub word: u8,
            pub bytes: u8,
            pub is_signed: u8,
            pub reserved: [u8; 4],
        }
        #[derive(Debug, Copy, Clone, Eq, PartialEq)]
        #[repr(transparent)]
        pub struct tracepoint(pub u32);
        #[allow(non_upper_case_globals)]
        impl tracepoint {
            pub const NET_INBOUND_MESSAGE: Self = Self(0);
            pub const NET_OUTBOUND_MESSAGE: Self = Self(1);
            pub const NET_INBOUND_CONNECTION: Self = Self(2);
            pub const NET_OUTBOUND_CONNECTION: Self = Self(3);
            pub const NET_EVICTED_INBOUND_CONNECTION: Self = Self(4);
            pub const NET_CLOSED_CONNECTION: Self = Self(5);
            pub const NET_MISBEHAVING_CONNECTION: Self = Self(6);
            pub const MEMPOOL_ADDED: Self = Self(7);
            pub const MEMPOOL_REMOVED: Self = Self(8);
            pub const MEMPOOL_REPLACED: Self = Self(9);
            pub const MEMPOOL_REJECTED: Self = Self(10);
            pub const VALIDATION_BLOCK_CONNECTED: Self = Self(11);
            pub const UTXOCACHE_FLUSH: Self = Self(12);
            pub const UTXOCACHE_ADD: Self = Self(13);
            pub const UTXOCACHE_SPENT: Self = Self(14);
            pub const UTXOCACHE_UNCACHE: Self = Self(15);
            pub const COIN_SELECTION_SELECTED_COINS: Self = Self(16);
            pub const COIN_SELECTION_NORMAL_CREATE_TX_INTERNAL: Self = Self(17);
            pub const COIN_SELECTION_ATTEMPTING_APS_CREATE_TX: Self = Self(18);
            pub const COIN_SELECTION_APS_CREATE_TX_INTERNAL: Self = Self(19);
            pub const TRACEPOINT_COUNT: Self = Self(20);
            pub const LOSSES: Self = Self(255);
        }
        impl Default for tracepoint {
            fn default() -> Self {
                Self::NET_INBOUND_MESSAGE
            }
        }
        #[derive(Debug, Copy, Clone, Eq, PartialEq)]
        #[repr(transparent)]
        pub struct loss_reason(pub u32);
        #[allow(non_upper_case_globals)]
        impl loss_reason {
            pub const RING_FULL: Self = Self(0);
            pub const UNREADABLE: Self = Self(1);
            pub const LOSS_REASON_COUNT: Self = Self(2);
        }
        impl Default for loss_reason {
            fn default() -> Self {
                Self::RING_FULL
            }
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct event_header {
            pub boot_ns: u64,
            pub tracepoint: u8,
            pub reserved: [u8; 5],
            pub text_length: u16,
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct losses_record {
            pub header: event_header,
            pub counts: [[u32; 2]; 20],
        }
        #[derive(Debug, Copy, Clone, Eq, PartialEq)]
        #[repr(transparent)]
        pub struct place(pub u32);
        #[allow(non_upper_case_globals)]
        impl place {
            pub const PLACE_OTHER: Self = Self(0);
            pub const PLACE_REGISTER: Self = Self(1);
            pub const PLACE_MEMORY: Self = Self(2);
            pub const PLACE_CONSTANT: Self = Self(3);
        }
        impl Default for place {
            fn default() -> Self {
                Self::PLACE_OTHER
            }
        }
        #[derive(Debug, Copy, Clone, Eq, PartialEq)]
        #[repr(transparent)]
        pub struct listed(pub u32);
        #[allow(non_upper_case_globals)]
        impl listed {
            pub const NOT_LISTED: Self = Self(0);
            pub const ONLY_LISTED: Self = Self(1);
            pub const NONE_LISTED: Self = Self(2);
        }
        impl Default for listed {
            fn default() -> Self {
                Self::NOT_LISTED
            }
        }
        #[derive(Debug, Copy, Clone, Eq, PartialEq)]
        #[repr(transparent)]
        pub struct payload_state(pub u32);
        #[allow(non_upper_case_globals)]
        impl payload_state {
            pub const PAYLOAD_WHOLE: Self = Self(0);
            pub const PAYLOAD_UNREADABLE: Self = Self(1);
            pub const PAYLOAD_TOO_LARGE: Self = Self(2);
            pub const PAYLOAD_NOT_WANTED: Self = Self(3);
            pub const PAYLOAD_BEGINNING: Self = Self(4);
        }
        impl Default for payload_state {
            fn default() -> Self {
                Self::PAYLOAD_WHOLE
            }
        }
        #[derive(Debug, Copy, Clone, Eq, PartialEq)]
        #[repr(transparent)]
        pub struct payloads(pub u32);
        #[allow(non_upper_case_globals)]
        impl payloads {
            pub const PAYLOADS_WHOLE: Self = Self(0);
            pub const PAYLOADS_NONE: Self = Self(1);
            pub const PAYLOADS_LIMITED: Self = Self(2);
        }
        impl Default for payloads {
            fn default() -> Self {
                Self::PAYLOADS_WHOLE
            }
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct message_record {
            pub header: event_header,
            pub peer_id: i64,
            pub size: u64,
            pub command: [u8; 16],
            pub connection_type: u8,
            pub payload: u8,
            pub peer_network: u8,
            pub is_known_peer: u8,
            pub copied: u32,
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct connection_record {
            pub header: event_header,
            pub peer_id: i64,
            pub detail: u64,
            pub network: u32,
            pub connection_type: u8,
            pub reserved: [u8; 3],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct misbehaving_record {
            pub header: event_header,
            pub peer_id: i64,
            pub score_before: i32,
            pub score_increase: i32,
            pub threshold_exceeded: u8,
            pub reserved: [u8; 7],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct added_record {
            pub header: event_header,
            pub txid: [u8; 32],
            pub vsize: i64,
            pub fee: i64,
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct removed_record {
            pub header: event_header,
            pub txid: [u8; 32],
            pub vsize: i64,
            pub fee: i64,
            pub entry_time: u64,
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct replaced_record {
            pub header: event_header,
            pub replaced_txid: [u8; 32],
            pub replaced_vsize: i64,
            pub replaced_fee: i64,
            pub replaced_entry_time: u64,
            pub replacement_txid: [u8; 32],
            pub replacement_vsize: i64,
            pub replacement_fee: i64,
            pub replacement_is_txid: u8,
            pub reserved: [u8; 7],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct rejected_record {
            pub header: event_header,
            pub txid: [u8; 32],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct block_connected_record {
            pub header: event_header,
            pub hash: [u8; 32],
            pub height: i64,
            pub transactions: u64,
            pub inputs: i64,
            pub sigops: u64,
            pub duration: u64,
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct flush_record {
            pub header: event_header,
            pub duration_us: i64,
            pub coins: u64,
            pub memory: u64,
            pub mode: u32,
            pub for_prune: u8,
            pub reserved: [u8; 3],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct coin_record {
            pub header: event_header,
            pub txid: [u8; 32],
            pub value: i64,
            pub vout: u32,
            pub height: u32,
            pub is_coinbase: u8,
            pub reserved: [u8; 7],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct selected_coins_record {
            pub header: event_header,
            pub algorithm: [u8; 24],
            pub target: i64,
            pub waste: i64,
            pub selected: i64,
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct create_tx_record {
            pub header: event_header,
            pub fee: i64,
            pub change_position: i32,
            pub use_aps: u8,
            pub success: u8,
            pub reserved: [u8; 2],
        }
        #[derive(Debug, Default, Copy, Clone)]
        #[repr(C)]
        pub struct attempting_aps_record {
            pub header: event_header,
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct maps {
            pub __bpf_usdt_specs: __anon_1,
            pub __bpf_usdt_ip_to_spec_id: __anon_2,
            pub ring: __anon_3,
            pub peers: __anon_4,
            pub commands: __anon_5,
            pub payload_limits: __anon_6,
            pub known_peers: __anon_7,
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct bss {
            pub counters: [tracepoint_counters; 20],
            pub untold_losses: u32,
            __pad_1284: [u8; 4],
            pub export_tracepoint: *mut tracepoint,
            pub export_loss_reason: *mut loss_reason,
            pub export_event_header: *mut event_header,
            pub export_losses_record: *mut losses_record,
            pub export_place: *mut place,
            pub export_listed: *mut listed,
            pub export_payload_state: *mut payload_state,
            pub export_payloads: *mut payloads,
            pub export_message_record: *mut message_record,
            pub export_connection_record: *mut connection_record,
            pub export_misbehaving_record: *mut misbehaving_record,
            pub export_added_record: *mut added_record,
            pub export_removed_record: *mut removed_record,
            pub export_replaced_record: *mut replaced_record,
            pub export_rejected_record: *mut rejected_record,
            pub export_block_connected_record: *mut block_connected_record,
            pub export_flush_record: *mut flush_record,
            pub export_coin_record: *mut coin_record,
            pub export_selected_coins_record: *mut selected_coins_record,
            pub export_create_tx_record: *mut create_tx_record,
            pub export_attempting_aps_record: *mut attempting_aps_record,
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct data_woken {
            pub woken: u32,
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct rodata {
            pub wake_mark: u64,
            pub summed: u32,
            pub peers_listed: u32,
            pub commands_listed: u32,
            pub connection_types: u32,
            pub min_size: u64,
            pub max_size: u64,
            pub payloads: u32,
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct rodata_places {
            pub places: [argument_place; 8],
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct data_payloads {
            pub whole_payloads: u32,
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct license {
            pub LICENSE: [i8; 13],
        }
        #[derive(Debug, Copy, Clone)]
        #[repr(C)]
        pub struct kconfig {
            pub LINUX_HAS_BPF_COOKIE: bool,
        }
    }
