#define _GNU_SOURCE
#include "forwarder.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

enum { UDP_LEVEL = 17, UDP_CUT = 103, STAMP = 35, MAX_RUN_BYTES = 65000, BATCHES_PER_TURN = 8 };
enum { MAXIMUM_DROPOUT = 3000, HEADER_BYTES = 12, ONE_BYTE_PROFILE = 0xBEDE };
enum { RTP_FEEDBACK = 205, TRANSPORT_WIDE = 15, PATIENCE_MS = 60, AT_ONCE_MS = 5 };
enum { SHA1_BYTES = 20, GET_TAG = 0x10, SET_TAG = 0x11 };
static const int64_t LAST_INDEX = ((int64_t)1 << 48) - 1;
static const double LATENCY_BOUNDS_S[LATENCIES - 1] = {1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1};

/* What both sides have a layout for, in the order of core.py. */
const uint32_t forwarder_layouts[] = {
    sizeof(Address),         sizeof(Cipher), sizeof(Window),   sizeof(FlowNumbers),
    sizeof(FlowState),       sizeof(Note),   sizeof(Sent),     offsetof(Settled, journal.notes),
    offsetof(HandUp, bytes), sizeof(HandUp), sizeof(Counters), sizeof(Arrivals),
};

/* The thread gives way to whoever waits: a mutex alone would let it take the lock again at once. */
static void lock(Forwarder *forwarder) {
    atomic_fetch_add(&forwarder->waiting, 1);
    pthread_mutex_lock(&forwarder->lock);
    atomic_fetch_sub(&forwarder->waiting, 1);
}

static void unlock(Forwarder *forwarder) { pthread_mutex_unlock(&forwarder->lock); }

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t u32(const uint8_t *p) { return (uint32_t)u16(p) << 16 | u16(p + 2); }
static void put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16), put16(p + 2, v); }

static int is_media(const uint8_t *bytes, size_t length) { /* RFC 7983, RFC 5761 section 4 */
    return length > 1 && bytes[0] >> 6 == 2 && (bytes[1] < 192 || bytes[1] > 223);
}

static int parse(Packet *packet, const uint8_t *bytes, size_t length, size_t tag_bytes) {
    size_t header = HEADER_BYTES + 4 * (size_t)(bytes[0] & 15);
    *packet = (Packet){.bytes = bytes};
    if (bytes[0] & 0x10) {
        if (header + 4 > length) return 0;
        packet->profile = u16(bytes + header);
        packet->elements = bytes + header + 4;
        header += 4 + 4 * (size_t)u16(bytes + header + 2);
    }
    if (header + tag_bytes > length) return 0;
    packet->payload = bytes + header;
    packet->payload_bytes = length - header - tag_bytes;
    if (packet->profile != ONE_BYTE_PROFILE) packet->elements = packet->payload;
    return 1;
}

/* -- SRTP, on libcrypto */

Libcrypto libcrypto;

/* RFC 3711 section 4.1.1, RFC 7714 section 8.1: salt XOR SSRC XOR index; the block counter's 16 bits stay zero. */
static void set_iv(const Cipher *cipher, uint8_t iv[16], uint32_t ssrc, int64_t index) {
    uint8_t *at = iv + (cipher->aead ? 2 : 4);
    memset(iv, 0, 16);
    memcpy(iv, cipher->salt, sizeof cipher->salt);
    for (int i = 0; i < 4; i++) at[i] ^= (uint8_t)(ssrc >> (24 - 8 * i));
    for (int i = 0; i < 6; i++) at[4 + i] ^= (uint8_t)(index >> (40 - 8 * i));
}

static void hmac_tag(const Cipher *cipher, uint8_t digest[SHA1_BYTES], const uint8_t *packet, size_t length,
                     int64_t index) {
    uint32_t context[32], roll_over = htonl((uint32_t)(index >> 16));
    memcpy(context, cipher->inner, sizeof context);
    libcrypto.sha1_update(context, packet, length);
    libcrypto.sha1_update(context, &roll_over, 4);
    libcrypto.sha1_final(digest, context);
    memcpy(context, cipher->outer, sizeof context);
    libcrypto.sha1_update(context, digest, SHA1_BYTES);
    libcrypto.sha1_final(digest, context);
}

static int open_packet(Cipher *cipher, const Packet *packet, uint32_t ssrc, int64_t index, uint8_t *out) {
    uint8_t iv[16], digest[SHA1_BYTES], difference = 0;
    int done, header = (int)(packet->payload - packet->bytes), size = (int)packet->payload_bytes;
    const uint8_t *tag = packet->payload + size;
    set_iv(cipher, iv, ssrc, index);
    if (cipher->aead)
        return libcrypto.decrypt_init(cipher->context, NULL, NULL, NULL, iv) == 1 &&
               libcrypto.decrypt_update(cipher->context, NULL, &done, packet->bytes, header) == 1 &&
               (!size || libcrypto.decrypt_update(cipher->context, out, &done, packet->payload, size) == 1) &&
               libcrypto.control(cipher->context, SET_TAG, cipher->tag_bytes, (void *)tag) == 1 &&
               libcrypto.decrypt_final(cipher->context, iv, &done) == 1;
    hmac_tag(cipher, digest, packet->bytes, (size_t)(header + size), index);
    for (int i = 0; i < cipher->tag_bytes; i++) difference |= digest[i] ^ tag[i];
    return difference == 0 && libcrypto.encrypt_init(cipher->context, NULL, NULL, NULL, iv) == 1 &&
           (!size || libcrypto.encrypt_update(cipher->context, out, &done, packet->payload, size) == 1);
}

/* Encrypts in place; the tag is written behind the payload. */
static int seal_packet(Cipher *cipher, uint8_t *packet, size_t header, size_t payload, uint32_t ssrc, int64_t index) {
    uint8_t iv[16], digest[SHA1_BYTES], *body = packet + header;
    int done;
    set_iv(cipher, iv, ssrc, index);
    if (libcrypto.encrypt_init(cipher->context, NULL, NULL, NULL, iv) != 1) return 0;
    if (cipher->aead && libcrypto.encrypt_update(cipher->context, NULL, &done, packet, (int)header) != 1) return 0;
    if (payload && libcrypto.encrypt_update(cipher->context, body, &done, body, (int)payload) != 1) return 0;
    if (cipher->aead)
        return libcrypto.encrypt_final(cipher->context, iv, &done) == 1 &&
               libcrypto.control(cipher->context, GET_TAG, cipher->tag_bytes, body + payload) == 1;
    hmac_tag(cipher, digest, packet, header + payload, index);
    memcpy(body + payload, digest, (size_t)cipher->tag_bytes);
    return 1;
}

/* -- history */

History *history_new(uint32_t slots, uint32_t maximum_bytes, double maximum_age_s) {
    History *history = calloc(1, sizeof *history);
    if (history == NULL) return NULL;
    history->mask = slots - 1;
    history->maximum_chunks = maximum_bytes / CHUNK_BYTES < 2 ? 2 : maximum_bytes / CHUNK_BYTES;
    history->maximum_age_s = maximum_age_s;
    return history;
}

void history_free(History *history) {
    for (Chunk *chunk = history->oldest, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(history->places);
    free(history);
}

/* The oldest chunk again once it has outlived its age, or there may be no more; else a new one. */
static Chunk *next_chunk(History *history, double now) {
    Chunk *chunk = history->oldest;
    if (history->places == NULL) history->places = calloc(history->mask + 1, sizeof *history->places);
    if (history->places == NULL) return NULL;
    int is_old = chunk != NULL && now - chunk->last_at > history->maximum_age_s;
    if (is_old || history->chunks >= history->maximum_chunks) {
        history->oldest = chunk->next;
    } else {
        if ((chunk = malloc(sizeof *chunk)) == NULL) return NULL;
        history->chunks++;
    }
    chunk->number = ++history->number, chunk->used = 0, chunk->next = NULL;
    *(history->oldest == NULL ? &history->oldest : &history->newest->next) = chunk;
    return history->newest = chunk;
}

static void keep(History *history, uint16_t number, const uint8_t *header, size_t header_bytes, const uint8_t *payload,
                 size_t payload_bytes, double now) {
    Chunk *chunk = history->newest;
    size_t length = (sizeof(Sent) + header_bytes + payload_bytes + 7) & ~(size_t)7;
    if (header_bytes + payload_bytes > OUT_BYTES) return;
    if ((chunk == NULL || chunk->used + length > CHUNK_BYTES) && (chunk = next_chunk(history, now)) == NULL) return;
    Sent *sent = (Sent *)(void *)(chunk->bytes + chunk->used);
    *sent = (Sent){now, number, (uint16_t)header_bytes, (uint16_t)payload_bytes, 0};
    memcpy(sent + 1, header, header_bytes);
    memcpy((uint8_t *)(sent + 1) + header_bytes, payload, payload_bytes);
    history->places[number & history->mask].chunk = chunk->number;
    history->places[number & history->mask].offset = chunk->used;
    chunk->used += (uint32_t)length;
    chunk->last_at = now;
}

void history_store(Forwarder *forwarder, History *history, uint16_t number, const uint8_t *header,
                   uint32_t header_bytes, const uint8_t *payload, uint32_t payload_bytes, double now) {
    lock(forwarder);
    keep(history, number, header, header_bytes, payload, payload_bytes, now);
    unlock(forwarder);
}

/* The bytes of what was sent under this number, copied to `out` with its Sent; 0: it is gone. */
uint32_t history_find(Forwarder *forwarder, const History *history, uint16_t number, uint8_t *out) {
    size_t length = 0, place = number & history->mask;
    lock(forwarder);
    const Chunk *chunk = history->places == NULL ? NULL : history->oldest;
    while (chunk != NULL && chunk->number != history->places[place].chunk) chunk = chunk->next;
    const Sent *sent = chunk == NULL ? NULL : (const void *)(chunk->bytes + history->places[place].offset);
    if (sent != NULL && sent->sequence_number == number) {
        length = sizeof *sent + sent->header_bytes + sent->payload_bytes;
        memcpy(out, sent, length);
    }
    unlock(forwarder);
    return (uint32_t)length;
}

void history_clear(Forwarder *forwarder, History *history) {
    lock(forwarder);
    if (history->places != NULL) memset(history->places, 0, (history->mask + 1) * sizeof *history->places);
    unlock(forwarder);
}

/* -- one packet */

/* RFC 3711 section 3.3.1, as triortc.engine.srtp.stream.estimate_index. */
static int64_t estimate_index(int64_t highest, uint16_t number) {
    int64_t distance = (number - highest) & 0xFFFF;
    if (distance > 0x8000 || (distance == 0x8000 && highest & 0x8000)) distance -= 0x10000;
    return highest + distance >= 0 ? highest + distance : highest + distance + 0x10000;
}

static uint32_t picture_id(FlowState *state, uint32_t id, uint32_t mask) {
    uint32_t out = (id + (uint32_t)state->picture_id_shift) & mask;
    uint32_t ahead = (uint32_t)(out - state->picture_id) & mask;
    if (ahead <= mask >> 1) state->picture_id = (state->picture_id + ahead) & 0x7FFF;
    return out;
}

/* PictureID and TL0PICIDX (RFC 7741 section 4.2), as triortc.engine.relay.payloads.renumber_pictures. */
static void renumber_pictures(FlowState *state, uint8_t *payload, size_t size) {
    if (size < 2 || !(payload[0] & 0x80)) return;
    int with_id = payload[1] & 0x80, with_tl0 = payload[1] & 0x40;
    if (with_id && size < 3) return;
    size_t tl0_at = 2u + (!with_id ? 0u : payload[2] & 0x80 ? 2u : 1u);
    if (tl0_at + (with_tl0 ? 1u : 0u) + (payload[1] & 0x30 ? 1u : 0u) > size) return;
    if (with_id) {
        uint32_t wide = payload[2] & 0x80, id = wide ? u16(payload + 2) & 0x7FFFu : payload[2];
        if (state->picture_id_shift < 0) state->picture_id_shift = (state->picture_id + 1 - id) & 0x7FFF;
        if (wide) put16(payload + 2, 0x8000 | picture_id(state, id, 0x7FFF));
        else payload[2] = (uint8_t)picture_id(state, id, 0x7F);
    }
    if (with_tl0) {
        if (state->tl0_shift < 0) state->tl0_shift = (state->tl0_index + 1 - payload[tl0_at]) & 0xFF;
        payload[tl0_at] = (uint8_t)(payload[tl0_at] + state->tl0_shift);
        if (((payload[tl0_at] - state->tl0_index) & 0xFF) < 0x80) state->tl0_index = payload[tl0_at];
    }
}

/* Where an element of the packet's one-byte extension begins (RFC 8285 section 4.2); NULL: it is not there. */
static const uint8_t *find_element(const Packet *packet, uint8_t id) {
    for (const uint8_t *at = packet->elements; id && at < packet->payload;) {
        int bytes = *at ? 2 + (*at & 15) : 1; /* 0 is padding; id 0 with a length and id 15 end the block */
        if ((*at && *at < 16) || *at >> 4 == 15 || packet->payload - at < bytes) return NULL;
        if (*at >> 4 == id) return at;
        at += bytes;
    }
    return NULL;
}

/* Our own element, then those that are passed on, as triortc.engine.session.outbound; the block's length, 0: none. */
static size_t build_extension(const FlowNumbers *numbers, const Packet *packet, uint32_t number, double now,
                              uint8_t *block) {
    uint8_t *at = block + 4;
    if (numbers->number_id) {
        *at++ = (uint8_t)(numbers->number_id << 4 | 1);
        put16(at, number);
        at += 2;
    } else if (numbers->send_time_id) {
        put32(at, (uint32_t)((uint64_t)(now * 262144) & 0xFFFFFF));
        at[0] = (uint8_t)(numbers->send_time_id << 4 | 2);
        at += 4;
    }
    for (int i = 0; i < 2; i++) {
        const uint8_t *element = find_element(packet, numbers->passed[i][0]);
        if (element == NULL) continue;
        memcpy(at, element, 2u + (element[0] & 15));
        at[0] = (uint8_t)(numbers->passed[i][1] << 4 | (element[0] & 15));
        at += 2 + (element[0] & 15);
    }
    if (at == block + 4) return 0;
    while ((at - block) % 4) *at++ = 0;
    put16(block, ONE_BYTE_PROFILE);
    put16(block + 2, (uint32_t)(at - block - 4) / 4);
    return (size_t)(at - block);
}

/* Jitter as triortc.engine.streams.receive_statistics (RFC 3550 A.8). */
static void count(FlowState *state, uint32_t clock_rate, uint32_t timestamp, size_t payload_bytes, double now) {
    double difference = (now - state->at) * clock_rate - (double)(int32_t)(timestamp - (uint32_t)state->timestamp_in);
    if (difference < 0) difference = -difference;
    if (difference < 5.0 * clock_rate) state->jitter += (difference - state->jitter) / 16;
    state->timestamp_in = timestamp;
    state->at = now;
    state->counts.packets++;
    state->counts.payload_bytes += (int64_t)payload_bytes;
}

static void note(Direction *direction, double at, uint32_t number, uint32_t kind) {
    direction->journal.notes[direction->journal.count++] = (Note){number, kind, at};
}

/* For the rate that is sent (bytes are counted together as long as it does not tell them apart), and for feedback. */
static void note_sent(Direction *direction, double now, uint32_t bytes, int with_number) {
    Journal *journal = &direction->journal;
    Note *last = &journal->notes[journal->count - !!journal->count], *sent = (void *)direction->sent.used;
    if (sent == NULL) return;
    if (journal->count && last->kind == SENT_BYTES && now - last->at < AT_ONCE_MS / 1000.0) last->number += bytes;
    else note(direction, now, bytes, SENT_BYTES);
    if (with_number) sent[journal->number & direction->sent.mask] = (Note){journal->number, bytes, now};
}

/* Puts the header before the decrypted payload, and seals. Whether libcrypto did. */
static int seal_for(Direction *direction, Flow *flow, const Packet *packet, uint8_t *payload, int64_t step, double now,
                    Out *out) {
    const FlowNumbers *numbers = &flow->numbers;
    FlowState *state = &flow->state;
    uint8_t header[HEADER_ROOM];
    size_t header_bytes = HEADER_BYTES, payload_bytes = packet->payload_bytes;
    uint16_t number = (uint16_t)(u16(packet->bytes + 2) + numbers->sequence_shift);
    if (numbers->is_vp8) renumber_pictures(state, payload, payload_bytes);
    state->timestamp_out = (uint32_t)(u32(packet->bytes + 4) + numbers->timestamp_shift);
    header_bytes += build_extension(numbers, packet, direction->journal.number, now, header + HEADER_BYTES);
    header[0] = header_bytes > HEADER_BYTES ? 0x90 : 0x80;
    header[1] = (uint8_t)((packet->bytes[1] & 0x80) | numbers->payload_types[packet->bytes[1] & 127]);
    put16(header + 2, number);
    put32(header + 4, (uint32_t)state->timestamp_out);
    put32(header + 8, numbers->ssrc_out);
    out->bytes = memcpy(payload - header_bytes, header, header_bytes);
    out->length = (uint32_t)(header_bytes + payload_bytes) + (uint32_t)direction->out.tag_bytes;
    if (flow->history != NULL && !numbers->keeps_sealed)
        keep(flow->history, number, header, header_bytes, payload, payload_bytes, now);
    state->out_index += step;
    flow->out.used[(uint64_t)state->out_index & flow->out.mask] = (uint64_t)state->out_index;
    if (!seal_packet(&direction->out, out->bytes, header_bytes, payload_bytes, numbers->ssrc_out, state->out_index))
        return 0;
    if (flow->history != NULL && numbers->keeps_sealed)
        keep(flow->history, number, header, 0, out->bytes, out->length, now);
    note_sent(direction, now, out->length, numbers->number_id);
    if (numbers->number_id) direction->journal.number++;
    return 1;
}

/* The next slot of the ring; NULL: no more than `kept_free` are left. */
static HandUp *next_slot(Forwarder *forwarder, uint32_t kept_free) {
    uint32_t used = forwarder->ring_tail - forwarder->ring_head;
    if (used + kept_free >= forwarder->ring_slots) return NULL;
    return &forwarder->ring[forwarder->ring_tail++ % forwarder->ring_slots];
}

/* Tell of a gap, and of every packet since, until Python has asked for what is missing. */
static void note_gap(Forwarder *forwarder, Direction *direction, Flow *flow, int64_t step, uint16_t number,
                     double now) {
    uint32_t slot = (uint32_t)(flow - direction->flows);
    if (!flow->telling) note(direction, now, (uint16_t)(number - step), GAP_BEHIND + slot);
    note(direction, now, number, RECEIVED + slot);
    flow->telling = 1;
    HandUp *look = direction->wants_look ? NULL : next_slot(forwarder, 0);
    if (look == NULL) return;
    look->from = direction->from, look->length = LOOK;
    direction->wants_look = forwarder->is_urgent = 1;
}

static Direction **bucket_of(Forwarder *forwarder, const Address *address) {
    uint32_t words[sizeof *address / 4], hash = 2166136261u;
    memcpy(words, address, sizeof words);
    for (size_t i = 0; i < sizeof words / 4; i++) hash = (hash ^ words[i]) * 0x9E3779B1u, hash ^= hash >> 15;
    return &forwarder->buckets[hash & (BUCKETS - 1)];
}

/* Whether a datagram is done with; if not, it is Python's. What is to be sent is added to outs. */
static int process(Forwarder *forwarder, const Address *from, const uint8_t *bytes, size_t length, double arrived_at,
                   double now) {
    Direction *direction = *bucket_of(forwarder, from);
    while (direction != NULL && memcmp(&direction->from, from, sizeof *from)) direction = direction->next;
    if (direction == NULL || direction->paused || length < HEADER_BYTES || !is_media(bytes, length)) return 0;
    Flow *flow = direction->flows, *end = flow + MAX_FLOWS;
    uint32_t ssrc = u32(bytes + 8);
    while (flow < end && (!flow->is_open || flow->numbers.ssrc_in != ssrc)) flow++;
    Packet packet;
    if (flow == end || !parse(&packet, bytes, length, (size_t)direction->in.tag_bytes)) return 0;

    const FlowNumbers *numbers = &flow->numbers;
    FlowState *state = &flow->state;
    uint16_t number = u16(bytes + 2);
    int64_t index = estimate_index(state->in_index, number), step = index - state->in_index;
    uint64_t *used = &flow->in.used[(uint64_t)index & flow->in.mask];
    if (step <= -(int64_t)numbers->window_in || (step <= 0 && *used == (uint64_t)index)) {
        state->counts.replayed++;
        return 1;
    }
    uint8_t *payload = forwarder->out_bytes[forwarder->out_count] + HEADER_ROOM;
    if (!open_packet(&direction->in, &packet, ssrc, index, payload)) {
        state->counts.forged++;
        return 1;
    }
    /* Authentic. Either it goes on with the flow's ordinary run, or the whole direction is Python's from here on. */
    direction->paused = step < 1 || step > MAXIMUM_DROPOUT || bytes[0] & 0x2F || (packet.profile & 0xFFF0) == 0x1000 ||
                        numbers->payload_types[bytes[1] & 127] > 127 || direction->journal.count + 4 > JOURNAL ||
                        direction->journal.arrived == JOURNAL || index >= LAST_INDEX ||
                        state->out_index + step >= LAST_INDEX;
    if (direction->paused) return 0;
    state->in_index = index, *used = (uint64_t)index;
    state->counts.advance += step;
    const uint8_t *arrival = find_element(&packet, numbers->arrival_id);
    if (arrival != NULL && arrival[0] & 15)
        direction->journal.arrivals[direction->journal.arrived++] =
            (Note){u16(arrival + 1), tick(arrived_at), arrived_at};
    if (numbers->asks && (flow->telling || step > 1)) note_gap(forwarder, direction, flow, step, number, now);
    count(state, numbers->clock_rate, u32(bytes + 4), packet.payload_bytes, now);
    Out out = {.direction = direction, .arrived_at = arrived_at};
    if (seal_for(direction, flow, &packet, payload, step, now, &out)) forwarder->outs[forwarder->out_count++] = out;
    return 1;
}

/* Without a thread: the length of what one datagram makes the core send, and where to; 0: nothing; -1: handed up. */
int forwarder_try(Forwarder *forwarder, const Address *from, const uint8_t *packet, uint32_t length, double arrived_at,
                  double now, Address *to, uint8_t *out) {
    if (length > DATAGRAM_BYTES || !process(forwarder, from, packet, length, arrived_at, now)) return -1;
    if (!forwarder->out_count) return 0;
    *to = forwarder->outs[--forwarder->out_count].direction->to;
    memcpy(out, forwarder->outs[0].bytes, forwarder->outs[0].length);
    return (int)forwarder->outs[0].length;
}

/* -- sending */

static double clock_s(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int send_message(Forwarder *forwarder, int socket, struct msghdr *message, uint32_t datagrams) {
    forwarder->counters.send_calls++;
    if (sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return errno;
    forwarder->counters.sent += datagrams;
    return 0;
}

/* A run of equal packets, of which the last may be shorter: one call where the kernel can cut it (UDP_SEGMENT). */
static void send_run(Forwarder *forwarder, const Address *to, struct iovec *vectors, uint32_t datagrams) {
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct msghdr message = {(void *)to->name, sizeof to->name, vectors, datagrams, control, sizeof control, 0};
    if (datagrams > 1 && forwarder->segmentation) {
        uint16_t segment = (uint16_t)vectors[0].iov_len;
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){CMSG_LEN(sizeof segment), UDP_LEVEL, UDP_CUT};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &segment, sizeof segment);
        int error = send_message(forwarder, to->socket, &message, datagrams);
        if (!error) forwarder->has_segmented = 1;
        if (error != EIO && error != EINVAL && error != ENOPROTOOPT && error != EOPNOTSUPP) {
            if (error) forwarder->counters.send_errors += datagrams;
            return;
        }
        /* No checksum offload, or an old kernel: do without from here on. Where it has worked, it is about this run. */
        forwarder->segmentation = error == EINVAL && forwarder->has_segmented;
    }
    message.msg_control = NULL;
    message.msg_controllen = 0;
    message.msg_iovlen = 1;
    for (; datagrams--; message.msg_iov++)
        if (send_message(forwarder, to->socket, &message, 1)) forwarder->counters.send_errors++;
}

/* What one direction has among the outs, from the first of it on, in as few runs as can be. */
static void send_direction(Forwarder *forwarder, int first) {
    struct iovec vectors[BATCH];
    Direction *direction = forwarder->outs[first].direction;
    uint32_t datagrams = 0, bytes = 0;
    for (Out *out = &forwarder->outs[first]; out < forwarder->outs + forwarder->out_count; out++) {
        if (out->direction != direction) continue;
        if (datagrams && (vectors[datagrams - 1].iov_len < vectors[0].iov_len || out->length > vectors[0].iov_len ||
                          bytes + out->length > MAX_RUN_BYTES)) {
            send_run(forwarder, &direction->to, vectors, datagrams);
            datagrams = bytes = 0;
        }
        vectors[datagrams++] = (struct iovec){out->bytes, out->length};
        bytes += out->length;
        out->direction = NULL;
    }
    send_run(forwarder, &direction->to, vectors, datagrams);
}

static void flush(Forwarder *forwarder) {
    Counters *counters = &forwarder->counters;
    for (int i = 0; i < forwarder->out_count; i++)
        if (forwarder->outs[i].direction != NULL) send_direction(forwarder, i);
    double sent_at = clock_s(CLOCK_MONOTONIC) + forwarder->clock_offset_s;
    for (int i = 0, within = 0; i < forwarder->out_count; i++, within = 0) {
        double latency_s = sent_at - forwarder->outs[i].arrived_at;
        while (within < LATENCIES - 1 && latency_s > LATENCY_BOUNDS_S[within]) within++;
        counters->latencies[within]++;
        counters->latency_sum_ns += latency_s > 0 ? (uint64_t)(latency_s * 1e9) : 0;
    }
    forwarder->out_count = 0;
}

/* -- receiving */

/* Media may not fill the ring: checks, handshakes and RTCP keep a quarter of it. */
static void hand_up(Forwarder *forwarder, const Address *from, const uint8_t *packet, uint32_t length,
                    double arrived_at, double now) {
    HandUp *slot = next_slot(forwarder, is_media(packet, length) ? forwarder->ring_slots / 4 : 0);
    if (slot == NULL) {
        forwarder->counters.hand_ups_lost++;
        return;
    }
    slot->from = *from, slot->arrived_at = arrived_at, slot->length = length;
    memcpy(slot->bytes, packet, length);
    forwarder->counters.handed_up++;
    /* What RTCP begins with is not encrypted: transport-wide feedback alone may wait for other work. */
    if (length < 2 || packet[1] != RTP_FEEDBACK || (packet[0] & 31) != TRANSPORT_WIDE) forwarder->is_urgent = 1;
    else if (!forwarder->patient_until) forwarder->patient_until = now + PATIENCE_MS / 1000.0;
}

/* How long a datagram has waited, by the kernel's stamp (SO_TIMESTAMPNS); a stamp far off is a clock that was set. */
static double waited_s(struct msghdr *message, double wall_s) {
    struct cmsghdr *header = message->msg_controllen ? CMSG_FIRSTHDR(message) : NULL;
    struct timespec stamp;
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != STAMP) return 0;
    memcpy(&stamp, CMSG_DATA(header), sizeof stamp);
    double waited = wall_s - (double)stamp.tv_sec - (double)stamp.tv_nsec * 1e-9;
    return waited >= 0 && waited < 1 ? waited : 0;
}

/* Take what is there from one socket; the count of datagrams. The lock is held. */
static int drain(Forwarder *forwarder, int socket) {
    for (int i = 0; i < BATCH; i++) {
        forwarder->messages[i].msg_hdr.msg_namelen = sizeof forwarder->names[i];
        forwarder->messages[i].msg_hdr.msg_controllen = sizeof forwarder->control[i];
    }
    int received = recvmmsg(socket, forwarder->messages, BATCH, MSG_DONTWAIT, NULL);
    double now = clock_s(CLOCK_MONOTONIC) + forwarder->clock_offset_s, wall_s = clock_s(CLOCK_REALTIME);
    forwarder->counters.receive_calls++;
    for (int i = 0; i < received; i++) {
        struct msghdr *message = &forwarder->messages[i].msg_hdr;
        const uint8_t *packet = forwarder->packets[i];
        uint32_t length = forwarder->messages[i].msg_len;
        Address from = {.socket = socket};
        memcpy(from.name, message->msg_name, message->msg_namelen);
        double arrived_at = now - waited_s(message, wall_s);
        forwarder->counters.received++;
        if (message->msg_flags & MSG_TRUNC) forwarder->counters.truncated++;
        else if (!process(forwarder, &from, packet, length, arrived_at, now))
            hand_up(forwarder, &from, packet, length, arrived_at, now);
    }
    flush(forwarder);
    if (forwarder->is_urgent || (forwarder->patient_until && now >= forwarder->patient_until))
        eventfd_write(forwarder->signal, 1);
    forwarder->is_urgent = 0;
    return received;
}

static void *run(void *argument) {
    Forwarder *forwarder = argument;
    struct epoll_event events[BATCH];
    int patient = 0;
    for (;;) {
        int ready = epoll_wait(forwarder->epoll, events, BATCH, patient ? PATIENCE_MS : -1);
        if (!ready) eventfd_write(forwarder->signal, 1);
        patient = 0;
        forwarder->counters.wakeups++;
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == forwarder->wake) return NULL;
            for (int turn = 0, received = BATCH; turn < BATCHES_PER_TURN && received == BATCH; turn++) {
                pthread_mutex_lock(&forwarder->lock);
                received = drain(forwarder, events[i].data.fd);
                patient |= forwarder->patient_until > 0;
                pthread_mutex_unlock(&forwarder->lock);
                for (int patience = 0; atomic_load(&forwarder->waiting) && patience < 1000; patience++) sched_yield();
            }
        }
    }
}

/* -- what Python asks for */

int forwarder_start(Forwarder *forwarder, double clock_offset_s) {
    forwarder->clock_offset_s = clock_offset_s;
    return pthread_create(&forwarder->thread, NULL, run, forwarder);
}

void forwarder_stop(Forwarder *forwarder) {
    eventfd_write(forwarder->wake, 1);
    pthread_join(forwarder->thread, NULL);
}

Forwarder *forwarder_new(int epoll, int wake, int signal, HandUp *ring, uint32_t ring_slots) {
    Forwarder *forwarder = calloc(1, sizeof *forwarder);
    if (forwarder == NULL) return NULL;
    forwarder->epoll = epoll, forwarder->wake = wake, forwarder->signal = signal;
    forwarder->ring = ring, forwarder->ring_slots = ring_slots, forwarder->segmentation = 1;
    pthread_mutex_init(&forwarder->lock, NULL);
    for (int i = 0; i < BATCH; i++) {
        forwarder->vectors[i] = (struct iovec){forwarder->packets[i], DATAGRAM_BYTES};
        forwarder->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &forwarder->names[i],
            .msg_iov = &forwarder->vectors[i],
            .msg_iovlen = 1,
            .msg_control = forwarder->control[i],
        };
    }
    return forwarder;
}

void forwarder_free(Forwarder *forwarder) {
    pthread_mutex_destroy(&forwarder->lock);
    free(forwarder);
}

/* What waits in the ring, from span[0] to before span[1]: the thread leaves that alone until it is said to be taken.
 * The signal is read before the look: what comes later signals again. */
void forwarder_waiting(Forwarder *forwarder, uint32_t span[2]) {
    eventfd_t signals;
    (void)eventfd_read(forwarder->signal, &signals);
    lock(forwarder);
    span[0] = forwarder->ring_head;
    span[1] = forwarder->ring_tail;
    forwarder->patient_until = 0;
    unlock(forwarder);
}

void forwarder_taken(Forwarder *forwarder, uint32_t head) {
    lock(forwarder);
    forwarder->ring_head = head;
    if (head != forwarder->ring_tail) eventfd_write(forwarder->signal, 1);
    else forwarder->ring_head = forwarder->ring_tail = 0; /* the same memory again */
    unlock(forwarder);
}

Direction *direction_new(Forwarder *forwarder, const Address *from, const Address *to, const Cipher *in,
                         const Cipher *out, const Window *sent) {
    Direction *direction = malloc(sizeof *direction);
    if (direction == NULL) return NULL;
    lock(forwarder);
    Direction **bucket = bucket_of(forwarder, from);
    *direction = (Direction){.next = *bucket, .from = *from, .to = *to, .in = *in, .out = *out, .sent = *sent};
    *bucket = direction;
    unlock(forwarder);
    return direction;
}

void direction_free(Forwarder *forwarder, Direction *direction) {
    lock(forwarder);
    Direction **at = bucket_of(forwarder, &direction->from);
    while (*at != direction) at = &(*at)->next;
    *at = direction->next;
    unlock(forwarder);
    explicit_bzero(direction, sizeof *direction);
    free(direction);
}

/* Packets of this direction that were handed up and not taken yet, in order, as far as its flows go now. */
static void catch_up(Forwarder *forwarder, Direction *direction, double now) {
    for (uint32_t i = forwarder->ring_head; i != forwarder->ring_tail && !direction->paused; i++) {
        HandUp *slot = &forwarder->ring[i % forwarder->ring_slots];
        if (slot->length > DATAGRAM_BYTES || memcmp(&slot->from, &direction->from, sizeof slot->from)) continue;
        if (process(forwarder, &slot->from, slot->bytes, slot->length, slot->arrived_at, now)) slot->length = TAKEN;
        if (forwarder->out_count == BATCH) flush(forwarder);
    }
    flush(forwarder);
}

/* Whether the flow was opened: not while another one's packet was handed up and is not looked at. */
int direction_open(Forwarder *forwarder, Direction *direction, uint32_t slot, const FlowNumbers *numbers,
                   const FlowState *state, const Window *in, const Window *out, History *history, uint32_t number,
                   double now) {
    int is_first = 1;
    lock(forwarder);
    for (int i = 0; i < MAX_FLOWS; i++) is_first &= !direction->flows[i].is_open;
    if (is_first) direction->paused = 0, direction->journal.number = (uint16_t)number;
    int opens = !direction->paused;
    if (opens) {
        direction->flows[slot] = (Flow){*numbers, *state, *in, *out, history, .is_open = 1};
        catch_up(forwarder, direction, now);
    }
    unlock(forwarder);
    return opens;
}

/* Take back what has come of a flow; then go on, or tell of gaps only (if there was nothing to tell), or close it. */
void direction_settle(Forwarder *forwarder, Direction *direction, uint32_t slot, int then, Settled *settled) {
    Flow *flow = &direction->flows[slot];
    Journal *journal = &direction->journal;
    lock(forwarder);
    settled->state = flow->state;
    memcpy(&settled->journal, journal, offsetof(Journal, arrivals) + journal->arrived * sizeof(Note));
    memcpy(settled->journal.notes, journal->notes, journal->count * sizeof(Note));
    if (then != TELL) memset(&flow->state.counts, 0, sizeof flow->state.counts);
    if (then == QUIET && !journal->count) flow->telling = 0;
    flow->is_open = then != CLOSE;
    direction->wants_look = journal->count = journal->arrived = 0;
    unlock(forwarder);
}

/* -- what feedback says, as triortc.engine.congestion works it out: the same operations in the same order */

static double larger(double a, double b) { return b > a ? b : a; }

static void forget(Rate *rate, double too_old) {
    for (; rate->oldest != rate->end && rate->slots[rate->oldest % RING].at <= too_old; rate->oldest++)
        rate->total -= rate->slots[rate->oldest % RING].bytes;
}

static void count_bytes(Rate *rate, int64_t bytes, double at) {
    struct Slot *newest = &rate->slots[(rate->end - 1) % RING];
    if (rate->oldest == rate->end) rate->started_at = at;
    if (rate->oldest == rate->end || at >= newest->at + rate->slot_s) {
        newest = &rate->slots[rate->end++ % RING];
        *newest = (struct Slot){at, 0};
        forget(rate, at - rate->window_s);
    }
    newest->bytes += bytes, rate->total += bytes;
}

static double rate_bps(Rate *rate, double now) {
    double elapsed_s = now - rate->started_at;
    if (!(elapsed_s >= rate->window_s / 2)) return -1;
    forget(rate, now - rate->window_s);
    return (double)(rate->total * 8) / (elapsed_s < rate->window_s ? elapsed_s : rate->window_s);
}

static void add(Trend *trend, const struct Delay *delay, int sign) {
    trend->times += sign * delay->time_ms, trend->delays += sign * delay->delay_ms;
    trend->squares += sign * (delay->time_ms * delay->time_ms);
    trend->products += sign * (delay->time_ms * delay->delay_ms);
}

static void move_origin(Trend *trend, double arrival) {
    double shift_ms = (arrival - trend->origin) * 1000;
    trend->origin = arrival;
    trend->times = trend->delays = trend->squares = trend->products = 0;
    for (uint32_t i = trend->end - trend->held; i != trend->end; i++) {
        trend->window[i % RING].time_ms -= shift_ms;
        add(trend, &trend->window[i % RING], 1);
    }
}

/* A group has ended: smooth, fit the line, judge; and let the threshold follow the path's noise. */
static void follow(Trend *trend, double sent, double arrival) {
    double late_s = (arrival - trend->previous_arrival) - (sent - trend->previous_sent), slope = 0;
    trend->previous_sent = sent, trend->previous_arrival = arrival;
    if (isnan(late_s)) { /* the first */
        trend->origin = arrival;
        return;
    }
    trend->groups++, trend->accumulated_ms += late_s * 1000;
    trend->smoothed_ms = SMOOTHING * trend->smoothed_ms + (1 - SMOOTHING) * trend->accumulated_ms;
    if (arrival - trend->origin > ORIGIN_S) move_origin(trend, arrival);
    struct Delay newest = {(arrival - trend->origin) * 1000, trend->smoothed_ms};
    add(trend, &newest, 1);
    if (trend->held == TREND_GROUPS) add(trend, &trend->window[(trend->end - TREND_GROUPS) % RING], -1);
    else trend->held++;
    trend->window[trend->end++ % RING] = newest;
    if (trend->held < TREND_GROUPS) return;
    double variance = trend->squares - trend->times * trend->times / TREND_GROUPS;
    if (variance > LEAST_VARIANCE) slope = (trend->products - trend->times * trend->delays / TREND_GROUPS) / variance;
    double trend_ms = (double)(trend->groups < 60 ? trend->groups : 60) * slope * 4, threshold_ms = trend->threshold_ms;
    if (trend_ms <= threshold_ms) trend->over_since = NAN, trend->usage = trend_ms < -threshold_ms ? UNDERUSED : NORMAL;
    else if (isnan(trend->over_since)) trend->over_since = arrival;
    else if (arrival - trend->over_since > OVERUSE_TIME_S && slope >= trend->before) trend->usage = OVERUSED;
    double since_s = arrival - trend->updated_at; /* NAN the first time */
    trend->before = slope, trend->updated_at = arrival, trend_ms = fabs(trend_ms);
    if (!(since_s > 0) || trend_ms > threshold_ms + OUTLIER_MS) return;
    double elapsed_ms = since_s < LONGEST_STEP_S ? since_s * 1000 : LONGEST_STEP_S * 1000;
    threshold_ms += (trend_ms < threshold_ms ? GAIN_DOWN : GAIN_UP) * (trend_ms - threshold_ms) * elapsed_ms;
    threshold_ms = larger(threshold_ms, LEAST_THRESHOLD_MS);
    trend->threshold_ms = threshold_ms > LARGEST_THRESHOLD_MS ? LARGEST_THRESHOLD_MS : threshold_ms;
}

static void note_group(Trend *trend, double sent, double last_sent, double arrived) {
    double ahead = sent - trend->group_sent_first, apart = fabs(arrived - trend->group_arrival);
    if (ahead >= 0 && ahead <= GROUP_S) {
        trend->group_sent_last = larger(trend->group_sent_last, last_sent);
        trend->group_arrival = larger(trend->group_arrival, arrived);
    }
    if (ahead <= GROUP_S) return; /* or overtaken by its group's successor */
    if (ahead <= RESET_GAP_S && apart <= RESET_GAP_S) follow(trend, trend->group_sent_last, trend->group_arrival);
    else *trend = (Trend){trend->threshold_ms, .previous_sent = NAN, .over_since = NAN, .updated_at = NAN};
    trend->group_sent_first = sent, trend->group_sent_last = last_sent, trend->group_arrival = arrived;
}

/* Feedback of `count` packets from `base` on: the ticks between them, or pairs of an offset and ticks. How many were
 * known: each is taken from `sent` once. */
uint32_t arrivals_take(Arrivals *arrivals, uint32_t base, const uint8_t *ticks, const int32_t (*pairs)[2],
                       uint32_t count, double began_s) {
    double group_at = -INFINITY, last_at = -INFINITY, newest_at = -INFINITY, arrived_at;
    int64_t arrival = 0, latest = 0, bytes = 0, known = 0;
    for (uint32_t i = 0; i <= count; i++) {
        Note sent = {0, 0, NAN}; /* ends the last group */
        if (i < count) {
            uint16_t number = (uint16_t)(base + (pairs == NULL ? i : (uint32_t)pairs[i][0]));
            Note *place = (Note *)(void *)arrivals->sent.used + (number & arrivals->sent.mask);
            arrival += pairs == NULL ? ticks[i] : pairs[i][1];
            if (place->number != number) continue;
            sent = *place, *place = (Note){NOTHING, 0, 0}, known++;
        }
        if (sent.at != last_at && !(sent.at - group_at >= 0 && sent.at - group_at <= GROUP_S)) {
            if (bytes) {
                arrived_at = began_s + (double)latest * TICK_S;
                count_bytes(&arrivals->rate, bytes, arrived_at);
                note_group(&arrivals->trend, group_at, last_at, arrived_at);
                newest_at = larger(newest_at, arrived_at);
            }
            group_at = sent.at, bytes = 0, latest = arrival;
        }
        last_at = sent.at, bytes += sent.kind;
        if (arrival > latest) latest = arrival;
    }
    arrivals->rate_bps = isinf(newest_at) ? -1 : rate_bps(&arrivals->rate, newest_at);
    return (uint32_t)known;
}
