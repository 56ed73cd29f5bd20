/* The forwarder under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer (see test_forwarder_sanitizers.py).
 *
 * An input is a list of datagrams, each behind three bytes: what to do with it and its length. Some come as they are,
 * some are first made authentic packets of the open flow, so that what lies behind the authentication is reached, too.
 */
#include "../../engine/relay/forwarder.c"

#include <stdio.h>

/* Of OpenSSL, whose headers a machine need not have. */
extern void *EVP_CIPHER_CTX_new(void);
extern const void *EVP_aes_128_gcm(void), *EVP_aes_128_ctr(void);
extern int EVP_EncryptInit_ex(void *, const void *, void *, const uint8_t *, const uint8_t *);
extern int EVP_DecryptInit_ex(void *, const void *, void *, const uint8_t *, const uint8_t *);
extern int EVP_EncryptUpdate(void *, uint8_t *, int *, const uint8_t *, int);
extern int EVP_DecryptUpdate(void *, uint8_t *, int *, const uint8_t *, int);
extern int EVP_EncryptFinal_ex(void *, uint8_t *, int *), EVP_DecryptFinal_ex(void *, uint8_t *, int *);
extern int EVP_CIPHER_CTX_ctrl(void *, int, int, void *);
extern int SHA1_Init(void *), SHA1_Update(void *, const void *, size_t), SHA1_Final(uint8_t *, void *);

static Forwarder *forwarder;
static Cipher sealing[2];
static Direction *direction[2];
static History *history[2];
static HandUp ring[4];
static uint64_t seen[2][2][128];
static Note sent[2][64];

static Cipher keyed(int aead, int sending) {
    static const uint8_t key[16] = {1};
    Cipher cipher = {EVP_CIPHER_CTX_new(), aead, aead ? 16 : 10, {2}, {0}, {0}};
    (sending || !aead ? EVP_EncryptInit_ex : EVP_DecryptInit_ex)(
        cipher.context, aead ? EVP_aes_128_gcm() : EVP_aes_128_ctr(), NULL, key, NULL);
    SHA1_Init(cipher.inner);
    SHA1_Init(cipher.outer);
    return cipher;
}

static void begin(void) {
    libcrypto.encrypt_init = EVP_EncryptInit_ex, libcrypto.decrypt_init = EVP_DecryptInit_ex;
    libcrypto.encrypt_update = EVP_EncryptUpdate, libcrypto.decrypt_update = EVP_DecryptUpdate;
    libcrypto.encrypt_final = EVP_EncryptFinal_ex, libcrypto.decrypt_final = EVP_DecryptFinal_ex;
    libcrypto.control = EVP_CIPHER_CTX_ctrl, libcrypto.sha1_update = SHA1_Update, libcrypto.sha1_final = SHA1_Final;
    forwarder = forwarder_new(-1, -1, -1, ring, 4);
    for (int i = 0; i < 2; i++) {
        Address from = {.socket = i}, to = {.socket = -1};
        Cipher in = keyed(i, 0), out = keyed(i, 1);
        sealing[i] = keyed(i, 1);
        history[i] = history_new(64, 2 * CHUNK_BYTES, 0.5);
        Window sent_by = {(void *)sent[i], 63};
        direction[i] = direction_new(forwarder, &from, &to, &in, &out, &sent_by);
    }
}

static void open_flow(int i, uint8_t options, double now) {
    static Settled settled;
    FlowNumbers numbers = {.ssrc_in = 7,
                           .ssrc_out = 9,
                           .window_in = 100,
                           .clock_rate = 90000,
                           .timestamp_shift = 77,
                           .sequence_shift = 3,
                           .arrival_id = 3,
                           .number_id = options & 2 ? 5 : 0,
                           .send_time_id = 6,
                           .passed = {{1, 4}, {options >> 3 & 1 ? 2 : 0, 8}},
                           .keeps_sealed = options >> 2 & 1,
                           .is_vp8 = options >> 4 & 1,
                           .asks = options >> 5 & 1};
    FlowState state = {.in_index = 65000,
                       .out_index = 65003,
                       .picture_id = -1,
                       .tl0_index = -1,
                       .picture_id_shift = -1,
                       .tl0_shift = -1,
                       .at = now};
    Window in = {seen[i][0], 127}, out = {seen[i][1], 127};
    for (int type = 0; type < 128; type++) numbers.payload_types[type] = (uint8_t)(type < 100 ? type : 255);
    memset(seen[i], 0xFF, sizeof seen[i]);
    if (direction[i]->flows[0].is_open) direction_settle(forwarder, direction[i], 0, CLOSE, &settled);
    if (!direction_open(forwarder, direction[i], 0, &numbers, &state, &in, &out, options & 1 ? history[i] : NULL, 0,
                        now))
        abort();
}

/* An authentic packet of the flow whose header, as far as it can be, and payload are these bytes. */
static size_t make_authentic(int i, uint8_t *packet, size_t length, int ahead) {
    int64_t index = direction[i]->flows[0].state.in_index + ahead;
    packet[0] = (uint8_t)(0x80 | (packet[0] & 0x3F));
    put16(packet + 2, (uint32_t)index);
    put32(packet + 8, 7);
    size_t header = HEADER_BYTES + 4 * (size_t)(packet[0] & 15);
    if (packet[0] & 0x10) {
        if (header + 4 > length) return length;
        if (packet[1] & 1) put16(packet + header, ONE_BYTE_PROFILE);
        packet[header + 2] = 0;
        header += 4 + 4 * (size_t)packet[header + 3];
    }
    if (header > length) return length;
    seal_packet(&sealing[i], packet, header, length - header, 7, index);
    return length + (size_t)sealing[i].tag_bytes;
}

static void take_hand_ups(void) {
    uint32_t span[2];
    forwarder_waiting(forwarder, span);
    for (; span[0] != span[1]; span[0]++)
        if (ring[span[0] % 4].length > DATAGRAM_BYTES && ring[span[0] % 4].length < LOOK) abort();
    forwarder_taken(forwarder, span[1]);
}

/* One datagram, in memory that ends where it does; everything that it makes the core write stays in its place. */
static void give(int i, const uint8_t *bytes, size_t length, double now) {
    uint8_t *packet = memcpy(malloc(length + !length), bytes, length);
    if (!process(forwarder, &direction[i]->from, packet, length, now, now))
        hand_up(forwarder, &direction[i]->from, packet, (uint32_t)length, now, now);
    free(packet);
    if (direction[i]->journal.count > JOURNAL || direction[i]->journal.arrived > JOURNAL) abort();
    for (int n = 0; n < forwarder->out_count; n++) {
        const Out *out = &forwarder->outs[n];
        if (out->length < HEADER_BYTES || out->bytes < forwarder->out_bytes[n]) abort();
        if (out->bytes + out->length > forwarder->out_bytes[n] + OUT_BYTES) abort();
    }
    if (forwarder->out_count == BATCH) flush(forwarder);
}

/* Feedback that speaks of what the first direction has sent: by ticks, or by pairs of an offset and ticks. */
static void take_feedback(const uint8_t *data, size_t size, int by_pairs) {
    static Arrivals arrivals = {.sent = {(void *)sent[0], 63},
                                .rate = {.window_s = 0.5, .slot_s = 0.025, .started_at = NAN},
                                .trend = {12.5, .group_sent_first = NAN, .previous_sent = NAN}};
    uint32_t count = (uint32_t)(by_pairs ? size / 4 : size);
    void *told = malloc(count * sizeof(int32_t[2]) + 1);
    if (by_pairs)
        for (uint32_t i = 0; i < count; i++) {
            ((int32_t(*)[2])told)[i][0] = u16(data + 4 * i);
            ((int32_t(*)[2])told)[i][1] = (int16_t)u16(data + 4 * i + 2);
        }
    else memcpy(told, data, count);
    double began_s = count ? 10 + data[0] * 0.064 : 10;
    uint32_t known = arrivals_take(&arrivals, size & 3, by_pairs ? NULL : told, by_pairs ? told : NULL, count, began_s);
    if (known > count || known > 64 || arrivals.trend.held > TREND_GROUPS) abort();
    if (arrivals.rate.end - arrivals.rate.oldest > RING || arrivals.rate.total < 0) abort();
    free(told);
}

/* `what` to do, by its bits: 1: which direction; 2: make it authentic, or 8: as if; 4: send; 16, 32: settle; 64: take;
 * 128: many of them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t found[sizeof(Sent) + OUT_BYTES], made[DATAGRAM_BYTES];
    static Settled settled;
    double now = 10;
    if (forwarder == NULL) begin();
    if (size < 1) return 0;
    for (int i = 0; i < 2; i++) open_flow(i, data[0], now);
    for (size_t at = 1; at + 3 <= size;) {
        int what = data[at], i = what & 1;
        size_t length = (size_t)u16(data + at + 1) % (DATAGRAM_BYTES + 1);
        int ahead = data[at + 1] >> 4 == 15 ? 3 : 1; /* a gap now and then */
        at += 3;
        if (length > size - at) length = size - at;
        now += 0.05 * (what >> 4);
        for (int times = what & 128 ? 50 : 1; times--;) {
            size_t given = length;
            memcpy(made, data + at, length);
            if (what & 2 && length >= HEADER_BYTES && length + 16 <= DATAGRAM_BYTES)
                given = make_authentic(i, made, length, ahead);
            else if (what & 8 && length >= HEADER_BYTES) put32(made + 8, 7); /* ours, as it says: forged or repeated */
            give(i, made, given, now);
        }
        at += length;
        if (what & 4) flush(forwarder);
        if (what & 16) direction_settle(forwarder, direction[i], 0, what & 32 ? QUIET : GO_ON, &settled);
        if (what & 64) take_hand_ups();
        if (direction[i]->paused) open_flow(i, (uint8_t)what, now); /* and catch up with what still waits */
        history_find(forwarder, history[i], (uint16_t)what, found);
    }
    flush(forwarder);
    take_hand_ups();
    if (data[0] & 64) take_feedback(data + 1, size - 1, data[0] & 128);
    return 0;
}

#ifndef WITH_LIBFUZZER
/* Without clang: the files that are named behind so many seconds, then inputs of a generator that knows their shape. */
int main(int argc, char **argv) {
    static uint8_t input[16384];
    uint64_t random = 88172645463325252ull, inputs = 0;
    for (int i = 2; i < argc; i++, inputs++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) return 1;
        LLVMFuzzerTestOneInput(input, fread(input, 1, sizeof input, file));
        fclose(file);
    }
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
    for (; time(NULL) < end; inputs++) {
        size_t size = 0;
        while (size < sizeof input - 3 - 2200) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            uint64_t dice = random;
            size_t length = dice >> 8 & 7 ? dice >> 16 & 0x7F : dice >> 16 & 0x7FF;
            input[size] = (uint8_t)((dice & 0xFF) | (dice >> 60 ? 2 : 0));
            put16(input + size + 1, (uint32_t)length);
            size += 3;
            for (size_t i = 0; i < length; i++) {
                random ^= random << 13, random ^= random >> 7, random ^= random << 17;
                input[size++] = (uint8_t)(random >> 24 & 3 ? random : random & 0x93);
            }
            if (!(dice >> 40 & 15)) break;
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%llu inputs\n", (unsigned long long)inputs);
    return 0;
}
#endif
