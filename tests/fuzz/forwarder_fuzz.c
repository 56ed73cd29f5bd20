/* The forwarder under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer (see test_forwarder_sanitizers.py).
 *
 * An input is a list of datagrams, each behind three bytes: what to do with it and its length. Some come as they are, some
 * are first made authentic packets of the open flow, so that what lies behind the authentication is reached, too.
 */
#include "../../engine/relay/forwarder.c"

#include <stdio.h>

static Forwarder *forwarder;
static Cipher sealing[2];
static Direction direction[2];
static History history[2];
static uint64_t seen[2][2][128];

static void begin(void) {
    static const uint8_t key[16] = {1}, salt[14] = {2}, mac[SHA1_BYTES] = {3};
    const char *missing = forwarder_load("libcrypto.so.3");
    static Cipher opening[2], out[2];
    if (missing != NULL) {
        fprintf(stderr, "libcrypto.so.3 lacks %s\n", missing);
        exit(1);
    }
    forwarder = forwarder_new(4);
    forwarder->sockets[forwarder->socket_count++] = -1;
    for (int i = 0; i < 2; i++) {
        int aead = i == 0, tag = aead ? 16 : 10, salted = aead ? 12 : 14, signed_with = aead ? 0 : SHA1_BYTES;
        cipher_init(&opening[i], aead, 0, tag, key, 16, salt, salted, mac, signed_with);
        cipher_init(&sealing[i], aead, 1, tag, key, 16, salt, salted, mac, signed_with);
        cipher_init(&out[i], aead, 1, tag, key, 16, salt, salted, mac, signed_with);
        history_init(&history[i], 64, 2 * CHUNK_BYTES, 0.5);
        direction[i].in = &opening[i];
        direction[i].out = &out[i];
        direction[i].journal_sent = 1;
        direction[i].from = (Address){.port = (uint16_t)i, .family = AF_INET};
        direction[i].to = (Address){.family = AF_INET6};
        forwarder_attach(forwarder, &direction[i]);
    }
}

static void open_flow(int i, uint8_t options) {
    Flow flow = {.is_open = 1, .seen_in = seen[i][0], .seen_out = seen[i][1], .history = options & 1 ? &history[i] : NULL};
    FlowNumbers *numbers = &flow.numbers;
    *numbers = (FlowNumbers){.ssrc_in = 7, .ssrc_out = 9, .window_in = 100, .mask_in = 127, .mask_out = 127,
                             .clock_rate = 90000, .timestamp_shift = 77, .sequence_shift = 3, .picture_id_shift = -1,
                             .tl0_shift = -1, .arrival_id = 3, .number_id = options & 2 ? 5 : 0, .send_time_id = 6,
                             .passed = options >> 3 & 1 ? 2 : 1, .pass_from = {1, 2}, .pass_to = {4, 8},
                             .keep_sealed = options >> 2 & 1};
    for (int type = 0; type < 128; type++) numbers->payload_types[type] = (uint8_t)(type < 100 ? type : 255);
    memset(numbers->vp8, options >> 4 & 1, sizeof numbers->vp8);
    flow.state = (FlowState){.in_index = 65000, .out_index = 65003, .picture_id = -1, .tl0_index = -1};
    memset(seen[i], 0xFF, sizeof seen[i]);
    direction[i].flows[0] = flow;
    direction[i].paused = 0;
    direction[i].notes = 0;
}

/* An authentic packet of the flow whose header, as far as it can be, and payload are these bytes. */
static size_t make_authentic(int i, uint8_t *packet, size_t length) {
    FlowState *state = &direction[i].flows[0].state;
    packet[0] = (uint8_t)(0x80 | (packet[0] & 0x3F));
    put16(packet + 2, (uint32_t)(state->in_index + 1));
    put32(packet + 8, 7);
    size_t header = HEADER_BYTES + 4 * (size_t)(packet[0] & 15);
    if (packet[0] & 0x10) {
        if (header + 4 > length) return length;
        if (packet[1] & 1) put16(packet + header, ONE_BYTE_PROFILE);
        packet[header + 2] = 0;
        header += 4 + 4 * (size_t)packet[header + 3];
    }
    if (header > length) return length;
    seal_packet(&sealing[i], packet, header, length - header, 7, state->in_index + 1);
    return length + (size_t)sealing[i].tag_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    double now = 10;
    if (forwarder == NULL) begin();
    if (size < 1) return 0;
    for (int i = 0; i < 2; i++) open_flow(i, data[0]);
    for (size_t at = 1; at + 3 <= size;) {
        int what = data[at], i = what & 1;
        size_t length = (size_t)u16(data + at + 1) % (DATAGRAM_BYTES + 1);
        at += 3;
        if (length > size - at) length = size - at;
        uint8_t *packet = forwarder->packets[0];
        memcpy(packet, data + at, length);
        at += length;
        if (what & 2 && length >= HEADER_BYTES && length + 16 <= DATAGRAM_BYTES) length = make_authentic(i, packet, length);
        else if (what & 8 && length >= HEADER_BYTES) put32(packet + 8, 7); /* ours, as it says: forged or repeated */
        now += 0.05 * (what >> 4);
        forwarder_process(forwarder, &direction[i].from, packet, length, now, now);
        for (int out = 0; out < forwarder->out_count; out++)
            if (forwarder->outs[out].length > OUT_BYTES) abort();
        if (forwarder->out_count >= BATCH - 1 || what & 4) flush(forwarder);
        if (direction[i].paused) open_flow(i, (uint8_t)what);
        history_find(&history[i], (uint16_t)what);
    }
    flush(forwarder);
    return 0;
}

#ifndef WITH_LIBFUZZER
/* Without clang: inputs of a generator that knows their shape, for so many seconds. */
int main(int argc, char **argv) {
    static uint8_t input[16384];
    uint64_t random = 88172645463325252ull, inputs = 0;
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
