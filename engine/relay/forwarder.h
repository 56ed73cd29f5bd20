/* The accelerated data plane's core: "this five-tuple, this SSRC: unprotect, rewrite, protect, send, remember".
 *
 * It knows flows (docs/architecture.md): streams in their ordinary run, each packet ahead of the one before. Whatever
 * else comes it leaves as it is and hands up, and everything of that direction behind it, until Python, the readable
 * truth, has taken the state back and opened the flow anew. Nothing is allocated for a packet; histories grow by
 * chunks.
 *
 * It knows nothing of the interpreter. engine/relay/core.py calls it by ctypes, has the layouts of what is named in
 * capitals here, and owns what it works with: memory, thread, epoll, eventfds, keyed ciphers.
 */
#ifndef TRIORTC_FORWARDER_H
#define TRIORTC_FORWARDER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    BATCH = 64,            /* datagrams taken by one receive call */
    DATAGRAM_BYTES = 2048, /* as triortc.engine.udp: a longer datagram is no media packet */
    HEADER_ROOM = 64,      /* for the header of a packet that goes out, extensions included */
    OUT_BYTES = DATAGRAM_BYTES + 2 * HEADER_ROOM,
    MAX_FLOWS = 4, /* of one direction */
    BUCKETS = 4096,
    JOURNAL = 256,
    CHUNK_BYTES = 32768,
    LATENCIES = 11,
    TREND_GROUPS = 20,
    RING = 32, /* of slots of a twentieth of the rate's window, and of the trend's groups */
};

/* ADDRESS: one end of a way, a socket of ours and a peer's name. */
typedef struct {
    int32_t socket;               /* file descriptor */
    _Alignas(4) uint8_t name[28]; /* sockaddr_in or sockaddr_in6, zeros behind it */
} Address;

/* CIPHER: AES-GCM, or AES-CM with HMAC-SHA1 cut to tag_bytes. */
typedef struct {
    void *context; /* EVP_CIPHER_CTX, keyed */
    int aead, tag_bytes;
    uint8_t salt[14];
    uint32_t inner[32], outer[32]; /* SHA_CTX behind the HMAC's pads */
} Cipher;

typedef struct Chunk {
    struct Chunk *next;
    double last_at;
    uint32_t used, number; /* chunks are counted from 1, anew each time one is used again */
    _Alignas(8) uint8_t bytes[CHUNK_BYTES];
} Chunk;

/* SENT_PACKET: what lies in a chunk before a packet's header and its payload. */
typedef struct {
    double at;
    uint16_t sequence_number, header_bytes, payload_bytes, zero;
} Sent;

/* Sent packets for answers to NACK, by number; memory grows to what maximum_age_s of the stream takes. */
typedef struct {
    struct {
        uint32_t chunk, offset;
    } * places; /* by the low bits of the sequence number; made for the first packet */
    Chunk *oldest, *newest;
    uint32_t mask, chunks, maximum_chunks, number;
    double maximum_age_s;
} History;

/* WINDOW: a ring of used indices, as triortc.engine.srtp.stream has it. It is Python's own, used in place. */
typedef struct {
    uint64_t *used;
    uint64_t mask;
} Window;

/* NUMBERS: what stays while a flow is open. */
typedef struct {
    uint32_t ssrc_in, ssrc_out, window_in, clock_rate, timestamp_shift, sequence_shift;
    uint8_t arrival_id, number_id, send_time_id; /* header extensions; 0: none */
    uint8_t passed[2][2];                        /* those that are passed on: id here, id there */
    uint8_t is_vp8;                              /* pictures are renumbered */
    uint8_t keeps_sealed;                        /* the history holds packets as sent: the receiver knows no RTX */
    uint8_t asks;                                /* missing packets are asked for: Python is told of gaps */
    uint8_t payload_types[128];                  /* 255: goes up */
    uint16_t zero;
} FlowNumbers;

/* STATE: what an ordinary run changes. */
typedef struct {
    int64_t in_index, out_index, timestamp_in, timestamp_out; /* of the newest packet */
    int64_t picture_id, tl0_index;                            /* the last that went out, -1 before */
    int64_t picture_id_shift, tl0_shift;                      /* -1: decided by the first picture */
    double jitter, at;
    struct {
        int64_t packets, advance, payload_bytes, replayed, forged; /* advance: packets and those missing between */
    } counts;                                                      /* since the flow was settled last */
} FlowState;

typedef struct {
    FlowNumbers numbers;
    FlowState state;
    Window in, out;
    History *history;
    int is_open, telling; /* telling: of every packet, since there was a gap and Python has not asked yet */
} Flow;

/* NOTE for Python's congestion control and NACK: when, and of its kind a number, or bytes that were sent. */
typedef struct {
    uint32_t number, kind;
    double at;
} Note;
static inline uint32_t tick(double at_s) { return (uint32_t)(int64_t)(at_s * 4000); } /* of transport-wide feedback */
enum { SENT_BYTES = 0, GAP_BEHIND = 1, RECEIVED = GAP_BEHIND + MAX_FLOWS };
typedef struct {
    uint16_t number, arrived, count, zero;  /* transport-wide number of the next packet; how many there are of both */
    Note arrivals[JOURNAL], notes[JOURNAL]; /* the former: transport-wide number of a packet that came, tick, when */
} Journal;

/* SETTLED: what has come of a flow and of its direction since this was asked last. */
typedef struct {
    FlowState state;
    Journal journal;
} Settled;
enum { GO_ON, QUIET, CLOSE, TELL }; /* TELL: the journal alone is taken */

/* Everything one leg sends to one other. Packets with transport-wide numbers are written down in `sent`, where Python
 * looks for what feedback speaks of: a Note each, its kind the packet's bytes, by the low bits of its number. */
typedef struct Direction {
    struct Direction *next;
    Address from, to;
    Cipher in, out;
    Flow flows[MAX_FLOWS];
    Window sent; /* nowhere: nobody counts what was sent */
    int paused, wants_look;
    Journal journal;
} Direction;

/* How fast packets come, and whether they come later and later: RateMeter and DelayTrend of triortc.engine.congestion.
 * What is None there is NAN here; the newest slot is the last one. */
typedef struct {
    double window_s, slot_s, started_at;
    int64_t total;
    uint32_t oldest, end; /* of the slots, counted on */
    struct Slot {
        double at;
        int64_t bytes;
    } slots[RING];
} Rate;

typedef struct {
    double threshold_ms, group_sent_first, group_sent_last, group_arrival, previous_sent, previous_arrival;
    double accumulated_ms, smoothed_ms, origin, times, delays, squares, products, over_since, before, updated_at;
    int64_t groups, usage;
    uint32_t held, end; /* of the window: how many count, and where it ends, counted on */
    struct Delay {
        double time_ms, delay_ms;
    } window[RING];
} Trend;
enum { NORMAL, OVERUSED, UNDERUSED };
static const double GROUP_S = 0.005, TICK_S = 0.00025, RESET_GAP_S = 3, ORIGIN_S = 10, LEAST_VARIANCE = 0.5;
static const double SMOOTHING = 0.9, OVERUSE_TIME_S = 0.010, OUTLIER_MS = 15, LONGEST_STEP_S = 0.1;
static const double LEAST_THRESHOLD_MS = 6, LARGEST_THRESHOLD_MS = 600, GAIN_DOWN = 0.039, GAIN_UP = 0.0087;

/* ARRIVALS: what feedback says of packets that were sent. Memory of Python's, which alone works on it. */
typedef struct {
    double rate_bps; /* as the last feedback gave it; negative: not known */
    Window sent;
    Rate rate;
    Trend trend;
} Arrivals;
enum { NOTHING = 0xFFFFFFFF }; /* as the number of a packet: there is none */

/* An RTP datagram that is read: where its payload begins, and the elements of a one-byte extension that lie before it.
 */
typedef struct {
    const uint8_t *bytes, *elements, *payload;
    size_t payload_bytes;
    uint16_t profile;
} Packet;

/* Filled in by core_cipher.py, which has found it by name: a machine without it has the Python plane and no error. */
typedef struct {
    int (*encrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*decrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*encrypt_update)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*decrypt_update)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*encrypt_final)(void *, uint8_t *, int *);
    int (*decrypt_final)(void *, uint8_t *, int *);
    int (*control)(void *, int, int, void *);
    int (*sha1_update)(void *, const void *, size_t);
    int (*sha1_final)(uint8_t *, void *);
} Libcrypto;

typedef struct {
    Direction *direction; /* NULL: sent */
    uint8_t *bytes;
    uint32_t length;
    double arrived_at;
} Out;

/* HAND_UP: what lies before a datagram for Python. */
typedef struct {
    Address from;
    uint32_t length;
    double arrived_at;
    uint8_t bytes[DATAGRAM_BYTES];
} HandUp;
enum {
    LOOK = 0xFFFFFFFE, /* as a length: no datagram, but the journal of the direction from there wants to be read */
    TAKEN = 0xFFFFFFFF /* a flow has caught up with it */
};

/* COUNTERS. A packet's latency is from its arrival in the kernel until it is sent on: how many were within each of
 * LATENCY_BOUNDS_S and not within the one before, the last without bound, and all of them added. */
typedef struct {
    uint64_t received, receive_calls, truncated, sent, send_calls, send_errors, handed_up, hand_ups_lost, wakeups;
    uint64_t latencies[LATENCIES], latency_sum_ns;
} Counters;

typedef struct {
    Counters counters; /* the first, where Python reads them */
    pthread_t thread;
    pthread_mutex_t lock;
    atomic_int waiting;      /* Python threads that wait for the lock */
    int epoll, wake, signal; /* wake: ends the thread; signal: to Python, that something was handed up */
    int segmentation, has_segmented;
    double clock_offset_s, patient_until; /* when what may wait in the ring is told of; 0: nothing does */
    Direction *buckets[BUCKETS];
    HandUp *ring;
    uint32_t ring_slots, ring_head, ring_tail; /* head: the next to be read */
    int is_urgent;                             /* something in the ring is to be told of now */
    int out_count;
    Out outs[BATCH]; /* what this batch has made */
    uint8_t packets[BATCH][DATAGRAM_BYTES], out_bytes[BATCH][OUT_BYTES], control[BATCH][64];
    struct sockaddr_in6 names[BATCH];
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH];
} Forwarder;

#endif
