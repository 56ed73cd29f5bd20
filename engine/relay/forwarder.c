#define _GNU_SOURCE
#include "forwarder.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { UDP_LEVEL = 17, UDP_CUT = 103, STAMP = 35, MAX_RUN_BYTES = 65000, BATCHES_PER_TURN = 8 };
enum { MAXIMUM_DROPOUT = 3000, HEADER_BYTES = 12, ONE_BYTE_PROFILE = 0xBEDE };
enum { RTP_FEEDBACK = 205, TRANSPORT_WIDE = 15, PATIENCE_MS = 10 };
enum { SHA1_BYTES = 20, SHA1_BLOCK = 64, GET_TAG = 0x10, SET_TAG = 0x11 };
static const int64_t LAST_INDEX = ((int64_t)1 << 48) - 1;

/* -- libcrypto, by name: a machine without it has the Python plane and no error. */

static struct {
    void *(*new_context)(void);
    void (*free_context)(void *);
    int (*encrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*decrypt_init)(void *, const void *, void *, const uint8_t *, const uint8_t *);
    int (*encrypt_update)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*decrypt_update)(void *, uint8_t *, int *, const uint8_t *, int);
    int (*encrypt_final)(void *, uint8_t *, int *);
    int (*decrypt_final)(void *, uint8_t *, int *);
    int (*control)(void *, int, int, void *);
    const void *(*gcm_128)(void), *(*gcm_256)(void), *(*ctr_128)(void);
    int (*sha1_init)(void *), (*sha1_update)(void *, const void *, size_t), (*sha1_final)(uint8_t *, void *);
} crypto;

const char *forwarder_load(const char *library) {
    static const char *const names[] = {
        "EVP_CIPHER_CTX_new", "EVP_CIPHER_CTX_free", "EVP_EncryptInit_ex",  "EVP_DecryptInit_ex",  "EVP_EncryptUpdate",
        "EVP_DecryptUpdate",  "EVP_EncryptFinal_ex", "EVP_DecryptFinal_ex", "EVP_CIPHER_CTX_ctrl", "EVP_aes_128_gcm",
        "EVP_aes_256_gcm",    "EVP_aes_128_ctr",     "SHA1_Init",           "SHA1_Update",         "SHA1_Final",
    };
    void *found[sizeof names / sizeof *names], *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    _Static_assert(sizeof found == sizeof crypto, "a name for each function, in its order");
    if (handle == NULL) return "the library itself";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((found[i] = dlsym(handle, names[i])) == NULL) return names[i];
    memcpy(&crypto, found, sizeof crypto);
    return NULL; /* the handle stays open: the functions are used until the process ends */
}

static void hmac_pad(void *context, const uint8_t *key, int key_bytes, uint8_t pad) {
    uint8_t block[SHA1_BLOCK] = {0};
    memcpy(block, key, (size_t)key_bytes);
    for (int i = 0; i < SHA1_BLOCK; i++) block[i] ^= pad;
    crypto.sha1_init(context);
    crypto.sha1_update(context, block, sizeof block);
    explicit_bzero(block, sizeof block);
}

int cipher_init(Cipher *cipher, int aead, int sending, int tag_bytes, const uint8_t *key, int key_bytes,
                const uint8_t *salt, int salt_bytes, const uint8_t *authentication, int authentication_bytes) {
    memset(cipher, 0, sizeof *cipher);
    if (crypto.new_context == NULL || (key_bytes != 16 && !(aead && key_bytes == 32))) return -1;
    if (salt_bytes != (aead ? 12 : 14) || authentication_bytes != (aead ? 0 : SHA1_BYTES)) return -1;
    if (tag_bytes < 1 || tag_bytes > (aead ? 16 : SHA1_BYTES)) return -1;
    if ((cipher->context = crypto.new_context()) == NULL) return -1;
    cipher->aead = aead;
    cipher->tag_bytes = tag_bytes;
    memcpy(cipher->salt, salt, (size_t)salt_bytes);
    if (!aead) hmac_pad(cipher->inner, authentication, authentication_bytes, 0x36);
    if (!aead) hmac_pad(cipher->outer, authentication, authentication_bytes, 0x5C);
    const void *kind = !aead ? crypto.ctr_128() : key_bytes == 32 ? crypto.gcm_256() : crypto.gcm_128();
    return (sending || !aead ? crypto.encrypt_init : crypto.decrypt_init)(cipher->context, kind, NULL, key, NULL) - 1;
}

void cipher_free(Cipher *cipher) {
    if (cipher->context != NULL) crypto.free_context(cipher->context);
    explicit_bzero(cipher, sizeof *cipher);
}

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
    crypto.sha1_update(context, packet, length);
    crypto.sha1_update(context, &roll_over, 4);
    crypto.sha1_final(digest, context);
    memcpy(context, cipher->outer, sizeof context);
    crypto.sha1_update(context, digest, SHA1_BYTES);
    crypto.sha1_final(digest, context);
}

static int open_packet(Cipher *cipher, const uint8_t *packet, size_t header, size_t length, uint32_t ssrc,
                       int64_t index, uint8_t *out) {
    uint8_t iv[16], digest[SHA1_BYTES], difference = 0;
    int done, payload = (int)(length - header) - cipher->tag_bytes;
    const uint8_t *body = packet + header, *tag = packet + length - cipher->tag_bytes;
    set_iv(cipher, iv, ssrc, index);
    if (cipher->aead)
        return crypto.decrypt_init(cipher->context, NULL, NULL, NULL, iv) == 1 &&
               crypto.decrypt_update(cipher->context, NULL, &done, packet, (int)header) == 1 &&
               (!payload || crypto.decrypt_update(cipher->context, out, &done, body, payload) == 1) &&
               crypto.control(cipher->context, SET_TAG, cipher->tag_bytes, (void *)tag) == 1 &&
               crypto.decrypt_final(cipher->context, iv, &done) == 1;
    hmac_tag(cipher, digest, packet, length - (size_t)cipher->tag_bytes, index);
    for (int i = 0; i < cipher->tag_bytes; i++) difference |= digest[i] ^ tag[i];
    return difference == 0 && crypto.encrypt_init(cipher->context, NULL, NULL, NULL, iv) == 1 &&
           (!payload || crypto.encrypt_update(cipher->context, out, &done, body, payload) == 1);
}

/* Encrypts in place; the tag is written behind the payload. */
static int seal_packet(Cipher *cipher, uint8_t *packet, size_t header, size_t payload, uint32_t ssrc, int64_t index) {
    uint8_t iv[16], digest[SHA1_BYTES], *body = packet + header;
    int done;
    set_iv(cipher, iv, ssrc, index);
    if (crypto.encrypt_init(cipher->context, NULL, NULL, NULL, iv) != 1) return 0;
    if (cipher->aead && crypto.encrypt_update(cipher->context, NULL, &done, packet, (int)header) != 1) return 0;
    if (payload && crypto.encrypt_update(cipher->context, body, &done, body, (int)payload) != 1) return 0;
    if (cipher->aead)
        return crypto.encrypt_final(cipher->context, iv, &done) == 1 &&
               crypto.control(cipher->context, GET_TAG, cipher->tag_bytes, body + payload) == 1;
    hmac_tag(cipher, digest, packet, header + payload, index);
    memcpy(body + payload, digest, (size_t)cipher->tag_bytes);
    return 1;
}

/* -- history */

void history_init(History *history, uint32_t slots, uint32_t maximum_bytes, double maximum_age_s) {
    *history = (History){.mask = slots - 1, .maximum_age_s = maximum_age_s};
    history->maximum_chunks = maximum_bytes / CHUNK_BYTES < 2 ? 2 : maximum_bytes / CHUNK_BYTES;
}

void history_free(History *history) {
    for (Chunk *chunk = history->oldest, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(history->places);
}

void history_clear(History *history) {
    if (history->places != NULL) memset(history->places, 0, (history->mask + 1) * sizeof *history->places);
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
    chunk->number = ++history->number;
    chunk->used = 0;
    chunk->next = NULL;
    *(history->oldest == NULL ? &history->oldest : &history->newest->next) = chunk;
    return history->newest = chunk;
}

void history_store(History *history, uint16_t number, const uint8_t *header, size_t header_bytes,
                   const uint8_t *payload, size_t payload_bytes, double now) {
    Chunk *chunk = history->newest;
    size_t length = (sizeof(Sent) + header_bytes + payload_bytes + 7) & ~(size_t)7;
    if (length > OUT_BYTES) return;
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

const Sent *history_find(const History *history, uint16_t number) {
    uint32_t wanted = history->places == NULL ? 0 : history->places[number & history->mask].chunk;
    for (const Chunk *chunk = history->oldest; wanted && chunk != NULL; chunk = chunk->next) {
        if (chunk->number != wanted) continue;
        const Sent *sent = (const Sent *)(const void *)(chunk->bytes + history->places[number & history->mask].offset);
        return sent->sequence_number == number ? sent : NULL;
    }
    return NULL;
}

/* -- one packet */

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t u32(const uint8_t *p) { return (uint32_t)u16(p) << 16 | u16(p + 2); }
static void put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16), put16(p + 2, v); }

/* RFC 3711 section 3.3.1, as triortc.engine.srtp.stream.estimate_index. */
static int64_t estimate_index(int64_t highest, uint16_t number) {
    int64_t distance = (number - highest) & 0xFFFF;
    if (distance > 0x8000 || (distance == 0x8000 && highest & 0x8000)) distance -= 0x10000;
    return highest + distance >= 0 ? highest + distance : highest + distance + 0x10000;
}

static uint32_t picture_id(const FlowNumbers *numbers, FlowState *state, uint32_t id, uint32_t mask) {
    uint32_t out = (id + (uint32_t)numbers->picture_id_shift) & mask;
    uint32_t ahead = (uint32_t)(out - state->picture_id) & mask;
    if (ahead <= mask >> 1) state->picture_id = (state->picture_id + ahead) & 0x7FFF;
    return out;
}

/* PictureID and TL0PICIDX (RFC 7741 section 4.2), as triortc.engine.relay.payloads.renumber_pictures. */
static void renumber_pictures(FlowNumbers *numbers, FlowState *state, uint8_t *payload, size_t size) {
    if (size < 2 || !(payload[0] & 0x80)) return;
    int with_id = payload[1] & 0x80, with_tl0 = payload[1] & 0x40;
    if (with_id && size < 3) return;
    size_t tl0_at = 2u + (!with_id ? 0u : payload[2] & 0x80 ? 2u : 1u);
    if (tl0_at + (with_tl0 ? 1u : 0u) + (payload[1] & 0x30 ? 1u : 0u) > size) return;
    if (with_id) {
        uint32_t wide = payload[2] & 0x80, id = wide ? u16(payload + 2) & 0x7FFFu : payload[2];
        if (numbers->picture_id_shift < 0) numbers->picture_id_shift = (int32_t)((state->picture_id + 1 - id) & 0x7FFF);
        if (wide) put16(payload + 2, 0x8000 | picture_id(numbers, state, id, 0x7FFF));
        else payload[2] = (uint8_t)picture_id(numbers, state, id, 0x7F);
    }
    if (with_tl0) {
        if (numbers->tl0_shift < 0) numbers->tl0_shift = (int32_t)((state->tl0_index + 1 - payload[tl0_at]) & 0xFF);
        payload[tl0_at] = (uint8_t)(payload[tl0_at] + numbers->tl0_shift);
        if (((payload[tl0_at] - state->tl0_index) & 0xFF) < 0x80) state->tl0_index = payload[tl0_at];
    }
}

/* Where a packet's header extensions hold what is wanted, from its first byte; 0: not there. */
typedef struct {
    size_t arrival, passed[2];
    uint8_t arrival_bytes, passed_bytes[2];
} Elements;

static void find_elements(const FlowNumbers *numbers, const uint8_t *packet, size_t offset, size_t end,
                          Elements *found) {
    while (offset < end) {
        uint8_t first = packet[offset++], id = first >> 4, length = (uint8_t)((first & 15) + 1);
        if (!first) continue;
        if (id == 15 || offset + length > end) return;
        if (id && id == numbers->arrival_id && !found->arrival) found->arrival = offset, found->arrival_bytes = length;
        for (int i = 0; i < numbers->passed; i++)
            if (id && id == numbers->pass_from[i] && !found->passed[i])
                found->passed[i] = offset, found->passed_bytes[i] = length;
        offset += length;
    }
}

static size_t extension_bytes(const FlowNumbers *numbers, const Elements *found) {
    size_t block = numbers->number_id ? 3 : numbers->send_time_id ? 4 : 0;
    for (int i = 0; i < numbers->passed; i++) block += found->passed[i] ? 1u + found->passed_bytes[i] : 0u;
    return block ? 4 + ((block + 3) & ~(size_t)3) : 0;
}

/* Our own element, then those that are passed on, as triortc.engine.session.outbound. */
static void build_extension(const FlowNumbers *numbers, const Elements *found, const uint8_t *packet, uint8_t *at,
                            size_t extension, uint32_t number, double now) {
    memset(at, 0, extension);
    put16(at, ONE_BYTE_PROFILE);
    put16(at + 2, (uint32_t)(extension - 4) / 4);
    at += 4;
    if (numbers->number_id) {
        at[0] = (uint8_t)(numbers->number_id << 4 | 1);
        put16(at + 1, number);
        at += 3;
    } else if (numbers->send_time_id) {
        put32(at, (uint32_t)((uint64_t)(now * 262144) & 0xFFFFFF));
        at[0] = (uint8_t)(numbers->send_time_id << 4 | 2);
        at += 4;
    }
    for (int i = 0; i < numbers->passed; i++) {
        if (!found->passed[i]) continue;
        *at++ = (uint8_t)(numbers->pass_to[i] << 4 | (found->passed_bytes[i] - 1));
        memcpy(at, packet + found->passed[i], found->passed_bytes[i]);
        at += found->passed_bytes[i];
    }
}

/* Jitter as triortc.engine.streams.receive_statistics (RFC 3550 A.8). */
static void count(FlowState *state, uint32_t clock_rate, uint32_t timestamp, size_t payload, double now) {
    double difference = (now - state->at) * clock_rate - (double)(int32_t)(timestamp - (uint32_t)state->timestamp_in);
    if (difference < 0) difference = -difference;
    if (difference < 5.0 * clock_rate) state->jitter += (difference - state->jitter) / 16;
    state->timestamp_in = timestamp;
    state->at = now;
    state->packets++;
    state->payload_bytes += (int64_t)payload;
}

/* The payload is decrypted and lies behind the room for the header; send_packet fills that and seals. */
static void send_packet(Forwarder *forwarder, Direction *direction, Flow *flow, const Elements *found,
                        const uint8_t *packet, uint8_t *out, size_t extension, size_t payload, int64_t step,
                        double now) {
    FlowNumbers *numbers = &flow->numbers;
    FlowState *state = &flow->state;
    size_t header = HEADER_BYTES + extension;
    uint32_t length = (uint32_t)(header + payload) + (uint32_t)direction->out->tag_bytes;
    uint16_t number = (uint16_t)(u16(packet + 2) + numbers->sequence_shift);
    if (numbers->vp8[packet[1] & 127]) renumber_pictures(numbers, state, out + header, payload);
    state->timestamp_out = (uint32_t)(u32(packet + 4) + numbers->timestamp_shift);
    out[0] = extension ? 0x90 : 0x80;
    out[1] = (uint8_t)((packet[1] & 0x80) | numbers->payload_types[packet[1] & 127]);
    put16(out + 2, number);
    put32(out + 4, (uint32_t)state->timestamp_out);
    put32(out + 8, numbers->ssrc_out);
    if (extension) build_extension(numbers, found, packet, out + HEADER_BYTES, extension, direction->number, now);
    if (flow->history != NULL && !numbers->keep_sealed)
        history_store(flow->history, number, out, header, out + header, payload, now);
    state->out_index += step;
    flow->seen_out[state->out_index & numbers->mask_out] = (uint64_t)state->out_index;
    if (!seal_packet(direction->out, out, header, payload, numbers->ssrc_out, state->out_index)) return;
    if (flow->history != NULL && numbers->keep_sealed) history_store(flow->history, number, out, 0, out, length, now);
    uint32_t transport_number = numbers->number_id ? direction->number : NO_NUMBER;
    if (direction->journal_sent) direction->journal[direction->notes++] = (Note){now, transport_number, SENT + length};
    if (numbers->number_id) direction->number = (direction->number + 1) & 0xFFFF;
    int mine = forwarder->out_count++;
    forwarder->outs[mine] = (Out){direction, out, length, -1};
    *(direction->first_out < 0 ? &direction->first_out : &forwarder->outs[direction->last_out].next) = mine;
    direction->last_out = mine;
}

static Direction **bucket_of(Forwarder *forwarder, const Address *address) {
    uint32_t words[6], hash = 2166136261u;
    memcpy(words, address, sizeof words);
    for (int i = 0; i < 6; i++) hash = (hash ^ words[i]) * 0x9E3779B1u, hash ^= hash >> 15;
    return &forwarder->buckets[hash & (BUCKETS - 1)];
}

int forwarder_process(Forwarder *forwarder, const Address *from, uint8_t *packet, size_t length, double arrived_at,
                      double now) {
    Direction *direction = *bucket_of(forwarder, from);
    while (direction != NULL && memcmp(&direction->from, from, sizeof *from)) direction = direction->next;
    if (direction == NULL || direction->paused || length < HEADER_BYTES || length > DATAGRAM_BYTES) return 0;
    if (packet[0] >> 6 != 2 || (packet[1] >= 192 && packet[1] <= 223)) return 0;
    Flow *flow = direction->flows, *end = flow + MAX_FLOWS;
    uint32_t ssrc = u32(packet + 8);
    while (flow < end && (!flow->is_open || flow->numbers.ssrc_in != ssrc)) flow++;
    if (flow == end) return 0;

    FlowNumbers *numbers = &flow->numbers;
    FlowState *state = &flow->state;
    size_t header = HEADER_BYTES + 4 * (size_t)(packet[0] & 15), elements_at = 0;
    size_t tag = (size_t)direction->in->tag_bytes;
    uint16_t profile = 0, number = u16(packet + 2);
    if (packet[0] & 0x10) {
        elements_at = header + 4;
        if (elements_at > length) return 0;
        profile = u16(packet + header);
        header = elements_at + 4 * (size_t)u16(packet + header + 2);
    }
    if (header + tag > length) return 0;
    int64_t index = estimate_index(state->in_index, number);
    if (index <= state->in_index && (index <= state->in_index - (int64_t)numbers->window_in ||
                                     flow->seen_in[index & numbers->mask_in] == (uint64_t)index)) {
        state->replayed++;
        return 1;
    }
    Elements found = {0};
    if (profile == ONE_BYTE_PROFILE) find_elements(numbers, packet, elements_at, header, &found);
    size_t extension = extension_bytes(numbers, &found), payload = length - header - tag;
    uint8_t *out = forwarder->out_bytes[forwarder->out_count];
    if (!open_packet(direction->in, packet, header, length, ssrc, index, out + HEADER_BYTES + extension)) {
        state->forged++;
        return 1;
    }
    /* Authentic. Either it goes on with the flow's ordinary run, or the whole direction is Python's from here on. */
    int64_t step = index - state->in_index;
    direction->paused = step < 1 || step > MAXIMUM_DROPOUT || packet[0] & 0x2F || (profile & 0xFFF0) == 0x1000 ||
                        numbers->payload_types[packet[1] & 127] > 127 || direction->notes + 4 > JOURNAL ||
                        index >= LAST_INDEX || state->out_index + step >= LAST_INDEX;
    if (direction->paused) return 0;
    state->in_index = index;
    flow->seen_in[index & numbers->mask_in] = (uint64_t)index;
    if (found.arrival_bytes >= 2)
        direction->journal[direction->notes++] = (Note){arrived_at, u16(packet + found.arrival), ARRIVED};
    if (numbers->asks && (flow->telling || step > 1)) {
        uint32_t which = (uint32_t)(flow - direction->flows);
        if (!flow->telling)
            direction->journal[direction->notes++] = (Note){now, (uint16_t)(index - step), GAP_BEHIND + which};
        direction->journal[direction->notes++] = (Note){now, number, RECEIVED + which};
        flow->telling = 1;
        if (!direction->wants_attention && forwarder->attention_count < BATCH) {
            direction->wants_attention = 1;
            forwarder->attention[forwarder->attention_count++] = direction->from;
        }
    }
    state->advance += step;
    count(state, numbers->clock_rate, u32(packet + 4), payload, now);
    send_packet(forwarder, direction, flow, &found, packet, out, extension, payload, step, now);
    return 1;
}

/* -- sockets and the thread */

void forwarder_attach(Forwarder *forwarder, Direction *direction) {
    Direction **bucket = bucket_of(forwarder, &direction->from);
    direction->first_out = direction->last_out = -1;
    direction->next = *bucket;
    *bucket = direction;
}

void forwarder_detach(Forwarder *forwarder, Direction *direction) {
    Direction **at = bucket_of(forwarder, &direction->from);
    while (*at != NULL && *at != direction) at = &(*at)->next;
    if (*at != NULL) *at = direction->next;
}

Forwarder *forwarder_new(uint32_t hand_ups) {
    Forwarder *forwarder = calloc(1, sizeof *forwarder);
    if (forwarder == NULL) return NULL;
    forwarder->ring = malloc(hand_ups * sizeof *forwarder->ring);
    forwarder->ring_slots = hand_ups;
    forwarder->segmentation = 1;
    forwarder->epoll = epoll_create1(EPOLL_CLOEXEC);
    forwarder->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    forwarder->signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
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
    if (forwarder->ring == NULL || forwarder->epoll < 0 || forwarder->wake < 0 || forwarder->signal < 0) {
        forwarder_free(forwarder);
        return NULL;
    }
    return forwarder;
}

void forwarder_free(Forwarder *forwarder) {
    forwarder_stop(forwarder);
    close(forwarder->epoll), close(forwarder->wake), close(forwarder->signal);
    pthread_mutex_destroy(&forwarder->lock);
    free(forwarder->ring);
    free(forwarder);
}

/* The thread gives way to whoever waits: a mutex alone would let it take the lock again at once. */
void forwarder_lock(Forwarder *forwarder) {
    atomic_fetch_add(&forwarder->waiting, 1);
    pthread_mutex_lock(&forwarder->lock);
    atomic_fetch_sub(&forwarder->waiting, 1);
}

void forwarder_unlock(Forwarder *forwarder) { pthread_mutex_unlock(&forwarder->lock); }

typedef union {
    struct sockaddr_storage any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Name;

static socklen_t name_of(const Address *address, Name *name) {
    memset(name, 0, sizeof *name);
    name->v4.sin_family = address->family;
    name->v4.sin_port = address->port;
    int is_v4 = address->family == AF_INET;
    memcpy(is_v4 ? (void *)&name->v4.sin_addr : (void *)&name->v6.sin6_addr, address->host, is_v4 ? 4 : 16);
    return is_v4 ? sizeof name->v4 : sizeof name->v6;
}

static Address address_of(uint16_t socket, const Name *name) {
    int is_v4 = name->any.ss_family == AF_INET;
    Address address = {.socket = socket, .family = name->any.ss_family, .port = name->v4.sin_port};
    memcpy(address.host, is_v4 ? (const void *)&name->v4.sin_addr : (const void *)&name->v6.sin6_addr, is_v4 ? 4 : 16);
    return address;
}

static int send_message(Forwarder *forwarder, int socket, struct msghdr *message, uint32_t datagrams) {
    forwarder->counters.send_calls++;
    if (sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return errno;
    forwarder->counters.sent += datagrams;
    return 0;
}

/* A run of equal packets, of which the last may be shorter: one call where the kernel can cut it (UDP_SEGMENT). */
static void send_run(Forwarder *forwarder, const Direction *direction, struct iovec *vectors, uint32_t datagrams) {
    Name name;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    int socket = forwarder->sockets[direction->to.socket];
    struct msghdr message = {&name, name_of(&direction->to, &name), vectors, datagrams, control, sizeof control, 0};
    if (datagrams > 1 && forwarder->segmentation) {
        uint16_t segment = (uint16_t)vectors[0].iov_len;
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){CMSG_LEN(sizeof segment), UDP_LEVEL, UDP_CUT};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &segment, sizeof segment);
        int error = send_message(forwarder, socket, &message, datagrams);
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
        if (send_message(forwarder, socket, &message, 1)) forwarder->counters.send_errors++;
}

static void flush(Forwarder *forwarder) {
    struct iovec vectors[BATCH];
    for (int i = 0; i < forwarder->out_count; i++) {
        Direction *direction = forwarder->outs[i].direction;
        uint32_t datagrams = 0, bytes = 0;
        if (direction->first_out != i) continue;
        for (Out *out = NULL; out == NULL || out->next >= 0;) {
            out = &forwarder->outs[out == NULL ? i : out->next];
            if (datagrams && (vectors[datagrams - 1].iov_len < vectors[0].iov_len || out->length > vectors[0].iov_len ||
                              bytes + out->length > MAX_RUN_BYTES)) {
                send_run(forwarder, direction, vectors, datagrams);
                datagrams = bytes = 0;
            }
            vectors[datagrams++] = (struct iovec){out->bytes, out->length};
            bytes += out->length;
        }
        send_run(forwarder, direction, vectors, datagrams);
        direction->first_out = direction->last_out = -1;
    }
    forwarder->out_count = 0;
}

/* How long a datagram has waited, by the kernel's stamp (SO_TIMESTAMPNS); a stamp far off is a clock that was set. */
static double waited_s(struct msghdr *message, const struct timespec *wall) {
    struct cmsghdr *header = message->msg_controllen ? CMSG_FIRSTHDR(message) : NULL;
    struct timespec stamp;
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != STAMP) return 0;
    memcpy(&stamp, CMSG_DATA(header), sizeof stamp);
    double waited = (double)(wall->tv_sec - stamp.tv_sec) + (double)(wall->tv_nsec - stamp.tv_nsec) * 1e-9;
    return waited >= 0 && waited < 1 ? waited : 0;
}

/* Take what is there from one socket; the count of datagrams. The lock is held. */
static int drain(Forwarder *forwarder, uint16_t socket) {
    struct timespec time, wall;
    for (int i = 0; i < BATCH; i++) {
        forwarder->messages[i].msg_hdr.msg_namelen = sizeof forwarder->names[i];
        forwarder->messages[i].msg_hdr.msg_controllen = sizeof forwarder->control[i];
    }
    int received = recvmmsg(forwarder->sockets[socket], forwarder->messages, BATCH, MSG_DONTWAIT, NULL), signal = 0;
    forwarder->counters.receive_calls++;
    clock_gettime(CLOCK_MONOTONIC, &time);
    clock_gettime(CLOCK_REALTIME, &wall);
    double now = (double)time.tv_sec + (double)time.tv_nsec * 1e-9 + forwarder->clock_offset_s;
    for (int i = 0; i < received; i++) {
        struct msghdr *message = &forwarder->messages[i].msg_hdr;
        Address from = address_of(socket, (Name *)&forwarder->names[i]);
        size_t length = forwarder->messages[i].msg_len;
        double arrived_at = now - waited_s(message, &wall);
        forwarder->counters.received++;
        if (message->msg_flags & MSG_TRUNC) forwarder->counters.truncated++;
        else if (!forwarder_process(forwarder, &from, forwarder->packets[i], length, arrived_at, now)) {
            /* Media may not fill the ring: checks, handshakes and RTCP keep a quarter of it. */
            const uint8_t *packet = forwarder->packets[i];
            int is_media = length > 1 && packet[0] >> 6 == 2 && (packet[1] < 192 || packet[1] > 223);
            uint32_t limit = forwarder->ring_slots - (is_media ? forwarder->ring_slots / 4 : 0);
            if (forwarder->ring_tail - forwarder->ring_head >= limit) {
                forwarder->counters.hand_ups_lost++;
                continue;
            }
            HandUp *slot = &forwarder->ring[forwarder->ring_tail++ % forwarder->ring_slots];
            slot->from = from;
            slot->arrived_at = arrived_at;
            slot->length = (uint32_t)length;
            memcpy(slot->bytes, packet, length);
            forwarder->counters.handed_up++;
            /* What RTCP begins with is not encrypted: transport-wide feedback alone may wait for other work. */
            if (length < 2 || packet[1] != RTP_FEEDBACK || (packet[0] & 31) != TRANSPORT_WIDE) signal = 1;
            else if (!forwarder->patient_until) forwarder->patient_until = now + PATIENCE_MS / 1000.0;
        }
    }
    flush(forwarder);
    signal |= forwarder->attention_count || (forwarder->patient_until && now >= forwarder->patient_until);
    if (signal) eventfd_write(forwarder->signal, 1);
    return received;
}

void forwarder_catch_up(Forwarder *forwarder, Direction *direction, double now) {
    for (uint32_t i = forwarder->ring_head; i != forwarder->ring_tail && !direction->paused; i++) {
        HandUp *slot = &forwarder->ring[i % forwarder->ring_slots];
        if (slot->length == TAKEN || memcmp(&slot->from, &direction->from, sizeof slot->from)) continue;
        if (forwarder_process(forwarder, &slot->from, slot->bytes, slot->length, slot->arrived_at, now))
            slot->length = TAKEN;
        if (forwarder->out_count == BATCH) flush(forwarder);
    }
    flush(forwarder);
}

static void *run(void *argument) {
    Forwarder *forwarder = argument;
    struct epoll_event events[MAX_SOCKETS + 1];
    int patient = 0;
    for (;;) {
        int ready = epoll_wait(forwarder->epoll, events, MAX_SOCKETS + 1, patient ? PATIENCE_MS : -1);
        if (!ready) eventfd_write(forwarder->signal, 1);
        patient = 0;
        forwarder->counters.wakeups++;
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 == MAX_SOCKETS) return NULL;
            for (int turn = 0, received = BATCH; turn < BATCHES_PER_TURN && received == BATCH; turn++) {
                pthread_mutex_lock(&forwarder->lock);
                received = drain(forwarder, (uint16_t)events[i].data.u32);
                patient |= forwarder->patient_until > 0;
                pthread_mutex_unlock(&forwarder->lock);
                for (int patience = 0; atomic_load(&forwarder->waiting) && patience < 1000; patience++) sched_yield();
            }
        }
    }
}

int forwarder_start(Forwarder *forwarder, double clock_offset_s) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = MAX_SOCKETS};
    sigset_t all, before;
    forwarder->clock_offset_s = clock_offset_s;
    if (epoll_ctl(forwarder->epoll, EPOLL_CTL_ADD, forwarder->wake, &event) < 0) return errno;
    for (int i = 0; i < forwarder->socket_count; i++) {
        event.data.u32 = (uint32_t)i;
        if (epoll_ctl(forwarder->epoll, EPOLL_CTL_ADD, forwarder->sockets[i], &event) < 0) return errno;
    }
    sigfillset(&all); /* signals are for Python's main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&forwarder->thread, NULL, run, forwarder);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    forwarder->running = !error;
    return error;
}

void forwarder_stop(Forwarder *forwarder) {
    if (!forwarder->running) return;
    eventfd_write(forwarder->wake, 1);
    pthread_join(forwarder->thread, NULL);
    forwarder->running = 0;
}
