/* The accelerated data plane's core: "this five-tuple, this SSRC: unprotect, rewrite, protect, send, remember".
 *
 * It knows flows (docs/architecture.md): streams in their ordinary run, each packet ahead of the one before. Whatever
 * else comes it leaves as it is and hands up, and everything of that direction behind it, until Python, the readable
 * truth, has taken the state back and opened the flow anew. Nothing is allocated for a packet; histories grow by chunks.
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
    OUT_BYTES = DATAGRAM_BYTES + 128,
    MAX_SOCKETS = 64,
    MAX_FLOWS = 4, /* of one direction */
    BUCKETS = 4096,
    JOURNAL = 512,
    CHUNK_BYTES = 32768,
};

/* One end of a way: a socket of ours and a peer's address (24 bytes: =HHHH16s, ports in network order). */
typedef struct {
    uint16_t socket, port, family, zero;
    uint8_t host[16];
} Address;

typedef struct {
    void *context;       /* EVP_CIPHER_CTX, keyed */
    int aead, tag_bytes; /* AES-GCM, or AES-CM with HMAC-SHA1 cut to tag_bytes */
    uint8_t salt[14];
    uint32_t inner[32], outer[32]; /* SHA_CTX behind the HMAC's pads */
} Cipher;

typedef struct Chunk {
    struct Chunk *next;
    double last_at;
    uint32_t used, number; /* chunks are counted from 1, anew each time one is used again */
    _Alignas(8) uint8_t bytes[CHUNK_BYTES];
} Chunk;

/* A sent packet in a chunk: this, its header and its payload. */
typedef struct {
    double at;
    uint16_t sequence_number, header_bytes, payload_bytes, zero;
} Sent;

/* Sent packets for answers to NACK, by number; memory grows to what maximum_age_s of the stream takes. */
typedef struct {
    struct {
        uint32_t chunk, offset;
    } *places; /* by the low bits of the sequence number; made for the first packet */
    Chunk *oldest, *newest;
    uint32_t mask, chunks, maximum_chunks, number;
    double maximum_age_s;
} History;

/* What an ordinary run changes (STATE in acceleration.py); counts are since it was settled last. */
typedef struct {
    int64_t in_index, out_index;               /* of the newest packet */
    int64_t packets, advance, payload_bytes,   /* advance: packets and those missing between them */ 
        timestamp_in, timestamp_out, replayed, forged;
    int64_t picture_id, tl0_index; /* the last that went out, -1 before */
    double jitter, at;
} FlowState;

/* What stays while a flow is open (NUMBERS in acceleration.py). */
typedef struct {
    uint32_t ssrc_in, ssrc_out, window_in, mask_in, mask_out, clock_rate, timestamp_shift, sequence_shift;
    int32_t picture_id_shift, tl0_shift;                 /* -1: decided by the first picture */
    uint8_t arrival_id, number_id, send_time_id, passed; /* ids of header extensions, 0: none; how many are passed on */
    uint8_t pass_from[2], pass_to[2];
    uint8_t payload_types[128]; /* 255: goes up */
    uint8_t vp8[128];           /* by incoming payload type: pictures are renumbered */
    uint32_t keep_sealed;       /* the history holds packets as they were sent, for a receiver without RTX */
    uint32_t asks;              /* missing packets are asked for: Python is told of gaps */
} FlowNumbers;

typedef struct {
    FlowNumbers numbers;
    FlowState state;
    uint64_t *seen_in, *seen_out; /* rings of used indices, as triortc.engine.srtp.stream */
    History *history;
    int is_open, telling; /* telling: of every packet, since there was a gap and Python has not asked yet */
} Flow;

/* For Python's congestion control and NACK. SENT and higher: of that length, less SENT. */
typedef struct {
    double at;
    uint32_t number, kind;
} Note;
enum { ARRIVED = 0, GAP_BEHIND = 1, RECEIVED = GAP_BEHIND + MAX_FLOWS, SENT = RECEIVED + MAX_FLOWS };
enum { NO_NUMBER = 0xFFFFFFFF };

/* Everything one leg sends to one other. */
typedef struct Direction {
    struct Direction *next;
    Address from, to;
    Cipher *in, *out;
    Flow flows[MAX_FLOWS];
    int journal_sent, paused, wants_attention;
    uint32_t notes, number; /* transport-wide sequence number of the next packet */
    Note journal[JOURNAL];
    int first_out, last_out; /* packets of this batch, in Forwarder.outs; -1: none */
} Direction;

typedef struct {
    Direction *direction;
    uint8_t *bytes;
    uint32_t length;
    int next;
} Out;

enum { TAKEN = 0xFFFFFFFF }; /* the length of a datagram that a flow has caught up with */
typedef struct {
    Address from;
    double arrived_at;
    uint32_t length;
    uint8_t bytes[DATAGRAM_BYTES];
} HandUp;

/* COUNTERS in acceleration.py. */
typedef struct {
    uint64_t received, receive_calls, truncated, sent, send_calls, send_errors, handed_up, hand_ups_lost, wakeups;
} Counters;

typedef struct {
    pthread_mutex_t lock;
    atomic_int waiting; /* Python threads that wait for the lock */
    pthread_t thread;
    int running, epoll, wake, signal; /* wake: to the thread; signal: to Python */
    int sockets[MAX_SOCKETS], socket_count, segmentation, has_segmented;
    double clock_offset_s, patient_until; /* when what may wait in the ring is told of; 0: nothing does */
    Direction *buckets[BUCKETS];
    HandUp *ring;
    uint32_t ring_slots, ring_head, ring_tail; /* head: the next to be read */
    int attention_count;
    Address attention[BATCH]; /* where directions come from whose journal Python should read now */
    int out_count;
    Out outs[BATCH];
    Counters counters;
    uint8_t packets[BATCH][DATAGRAM_BYTES], out_bytes[BATCH][OUT_BYTES], control[BATCH][64];
    struct sockaddr_storage names[BATCH];
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH];
} Forwarder;

/* The name of a function that the library does not have; NULL when all are there. */
const char *forwarder_load(const char *library);
int cipher_init(Cipher *, int aead, int sending, int tag_bytes, const uint8_t *key, int key_bytes, const uint8_t *salt,
                int salt_bytes, const uint8_t *authentication, int authentication_bytes);
void cipher_free(Cipher *);
void history_init(History *, uint32_t slots, uint32_t maximum_bytes, double maximum_age_s);
void history_free(History *);
void history_clear(History *);
void history_store(History *, uint16_t number, const uint8_t *header, size_t header_bytes, const uint8_t *payload,
                   size_t payload_bytes, double now);
const Sent *history_find(const History *, uint16_t number);
Forwarder *forwarder_new(uint32_t hand_ups);
void forwarder_free(Forwarder *);
int forwarder_start(Forwarder *, double clock_offset_s);
void forwarder_stop(Forwarder *);
void forwarder_attach(Forwarder *, Direction *);
/* Packets of this direction that were handed up and not taken yet, in order, as far as its flows go now. */
void forwarder_catch_up(Forwarder *, Direction *, double now);
void forwarder_detach(Forwarder *, Direction *);
/* 1: done with; 0: for Python, as it came. What is to be sent lies in outs. The lock is held, or no thread runs. */
int forwarder_process(Forwarder *, const Address *from, uint8_t *packet, size_t length, double arrived_at, double now);
void forwarder_lock(Forwarder *);
void forwarder_unlock(Forwarder *);

#endif
