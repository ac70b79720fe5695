/*
 * The timing of the emulated switch (wire.h), on times made up by the test.
 *
 *   delay      a frame is there after the delay, not earlier
 *   rate       the sender's port takes one frame at a time, and so does the receiver's
 *   fairness   a sender's long queue does not hold up another sender's frame to the same port
 *   order      random traffic: frames of a pair keep their order, data stays, none is early
 *   loss       as many as asked for, the same ones for the same seed, never a safe frame
 *   everybody  every port but the sender's gets a copy, of short and of long frames
 *   memory     what does not fit is counted, and there is room again afterwards
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/hosts/wire.h"
#include "tests/unit/run_suite.h"

enum { US = 1000, LENGTH = 100, LONG = 60000 };

static wire_t wire;

static void start(wire_config_t config)
{
    config.memory = 0 == config.memory ? (size_t)64 << 20 : config.memory;
    ck_assert(wire_init(&wire, &config));
}

static void send_frame(int from, int to, size_t bytes, int content, uint64_t now)
{
    memset(wire_buffer(&wire), content, LENGTH);
    wire_send(&wire, LENGTH, bytes, from, to, false, now);
}

/* The next frame, whenever it is due: its content, or -1. */
static int take(uint64_t *due)
{
    wire_frame_t *frame = NULL;
    int content = -1;

    while (NULL == frame && WIRE_NEVER != wire_next(&wire)) {
        frame = wire_take(&wire, wire_next(&wire), due);
    }
    if (NULL != frame) {
        content = frame->data[0];
        ck_assert_int_eq(0, memcmp(frame->data, frame->data + 1, frame->length - 1));
        wire_release(&wire, frame);
    }
    return content;
}

START_TEST(delay)
{
    uint64_t due;

    start((wire_config_t){.ports = 2, .delay = 700 * US});
    send_frame(0, 1, 1500, 7, 50 * US);
    ck_assert_uint_eq(750 * US, wire_next(&wire));
    ck_assert_ptr_null(wire_take(&wire, 750 * US - 1, &due));
    ck_assert_int_eq(7, take(&due));
    ck_assert_uint_eq(750 * US, due);
    ck_assert_uint_eq(WIRE_NEVER, wire_next(&wire));
    wire_fini(&wire);
}
END_TEST

START_TEST(rate)
{
    uint64_t due;

    start((wire_config_t){.ports = 3, .delay = 10 * US, .ns_per_byte = 8});
    send_frame(0, 2, 1000, 1, 0); /* 8 us on the wire */
    send_frame(0, 2, 1000, 2, 0);
    send_frame(1, 2, 1000, 3, 1 * US);
    send_frame(0, 1, 1000, 4, 0);
    ck_assert_int_eq(1, take(&due));
    ck_assert_uint_eq(18 * US, due);
    ck_assert_int_eq(3, take(&due)); /* arrived at 19, the port is free from 18 on */
    ck_assert_uint_eq(26 * US, due);
    ck_assert_int_eq(2, take(&due));
    ck_assert_uint_eq(34 * US, due);
    ck_assert_int_eq(4, take(&due)); /* the third of its sender, to an idle port */
    ck_assert_uint_eq(34 * US, due);
    wire_fini(&wire);
}
END_TEST

START_TEST(fairness)
{
    uint64_t due;

    start((wire_config_t){.ports = 3, .delay = 10 * US, .ns_per_byte = 8});
    for (int i = 0; i < 50; ++i) {
        send_frame(0, 2, 1000, 1, 0);
    }
    send_frame(1, 2, 1000, 2, 0);
    ck_assert_int_eq(1, take(&due));
    ck_assert_int_eq(2, take(&due));
    ck_assert_uint_eq(26 * US, due);
    wire_fini(&wire);
}
END_TEST

START_TEST(order)
{
    enum { PORTS = 5, FRAMES = 4000, BYTES = 1250 };
    const uint64_t on_wire = 10 * US, delay = 100 * US;
    static uint64_t sent[FRAMES];
    int last[PORTS][PORTS], received = 0;
    uint64_t now = 0, due, before = 0;

    memset(last, -1, sizeof(last));
    start((wire_config_t){.ports = PORTS, .delay = 100 * US, .ns_per_byte = 8});
    srand(1);
    for (int i = 0; i < FRAMES || WIRE_NEVER != wire_next(&wire);) {
        wire_frame_t *frame;

        now += (uint64_t)rand() % (5 * US);
        if (i < FRAMES) {
            int header[3] = {i, rand() % PORTS, rand() % (PORTS - 1)};
            size_t length = 0 == rand() % 5 ? LONG : LENGTH;

            header[2] += header[2] >= header[1];
            memcpy(wire_buffer(&wire), header, sizeof(header));
            wire_send(&wire, length, BYTES, header[1], header[2], false, now);
            sent[i++] = now;
        }
        while (NULL != (frame = wire_take(&wire, now, &due))) {
            int header[3];

            memcpy(header, frame->data, sizeof(header));
            ck_assert_int_eq(header[2], frame->to);
            ck_assert_int_lt(last[header[1]][header[2]], header[0]);
            last[header[1]][header[2]] = header[0];
            ck_assert_uint_ge(due, sent[header[0]] + on_wire + delay);
            ck_assert_uint_le(before, due);
            ck_assert_uint_le(due, now);
            before = due;
            ++received;
            wire_release(&wire, frame);
        }
    }
    ck_assert_int_eq(FRAMES, received);
    wire_fini(&wire);
}
END_TEST

/* Which of the first 64 frames of port 0 get lost, as bits. */
static uint64_t lost_frames(uint64_t seed, uint64_t pause)
{
    uint64_t lost = ~(uint64_t)0, due;
    int content;

    start((wire_config_t){.ports = 3, .loss = 0.3, .seed = seed});
    for (int i = 0; i < 64; ++i) {
        send_frame(0, 1, LENGTH, i, (uint64_t)i * pause);
        send_frame(2, 1, LENGTH, 100, (uint64_t)i * pause);
    }
    while (-1 != (content = take(&due))) {
        lost &= 100 == content ? lost : ~((uint64_t)1 << content);
    }
    wire_fini(&wire);
    return lost;
}

START_TEST(loss)
{
    enum { FRAMES = 20000 };
    uint64_t due;

    start((wire_config_t){.ports = 2, .ns_per_byte = 8, .loss = 0.02, .seed = 5});
    for (int i = 0; i < FRAMES; ++i) {
        send_frame(0, 1, 1000, 1, 0);
    }
    ck_assert_uint_eq(FRAMES, wire.counts.frames);
    ck_assert_uint_gt(wire.counts.lost, FRAMES * 0.017);
    ck_assert_uint_lt(wire.counts.lost, FRAMES * 0.023);
    ck_assert_uint_eq(FRAMES - wire.counts.lost, wire.waiting);
    /* Lost frames took their time all the same. */
    while (-1 != take(&due)) {
    }
    ck_assert_uint_gt(due, (uint64_t)(FRAMES - 20) * 8 * US);
    wire_fini(&wire);

    ck_assert_uint_eq(lost_frames(1, 0), lost_frames(1, 12345));
    ck_assert_uint_ne(lost_frames(1, 0), lost_frames(2, 0));

    start((wire_config_t){.ports = 2, .loss = 1});
    send_frame(0, 1, LENGTH, 1, 0);
    ck_assert_uint_eq(0, wire.waiting);
    wire_send(&wire, LENGTH, LENGTH, 0, 1, true, 0);
    ck_assert_uint_eq(1, wire.waiting);
    wire_fini(&wire);
}
END_TEST

START_TEST(everybody)
{
    static const size_t lengths[] = {LENGTH, LONG};

    start((wire_config_t){.ports = 4});
    for (int l = 0; l < 2; ++l) {
        bool seen[4] = {false};
        wire_frame_t *frames[4];
        uint64_t due;

        memset(wire_buffer(&wire), 9, lengths[l]);
        wire_send(&wire, lengths[l], 1, 2, WIRE_EVERYBODY, false, 0);
        for (int i = 0; i < 3; ++i) {
            frames[i] = wire_take(&wire, 0, &due);
            ck_assert_ptr_nonnull(frames[i]);
            seen[frames[i]->to] = true;
            ck_assert_uint_eq(lengths[l], frames[i]->length);
            ck_assert_int_eq(9, frames[i]->data[0]);
            ck_assert_int_eq(9, frames[i]->data[lengths[l] - 1]);
        }
        ck_assert_ptr_null(wire_take(&wire, 0, &due));
        ck_assert(seen[0] && seen[1] && !seen[2] && seen[3]);
        for (int i = 0; i < 3; ++i) {
            wire_release(&wire, frames[i]);
        }
    }
    wire_fini(&wire);
}
END_TEST

START_TEST(memory)
{
    uint64_t due;

    start((wire_config_t){.ports = 2, .memory = (size_t)1 << 20});
    for (int round = 0; round < 2; ++round) {
        uint64_t overflowed = wire.counts.overflowed;
        int sent = 0;

        for (; sent < 100000 && overflowed == wire.counts.overflowed; ++sent) {
            send_frame(0, 1, LENGTH, 3, 0);
        }
        ck_assert_int_gt(sent, 100);
        ck_assert_uint_eq(overflowed + 1, wire.counts.overflowed);
        while (-1 != take(&due)) {
        }
    }
    wire_fini(&wire);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *tcase = tcase_create("wire");

    tcase_add_test(tcase, delay);
    tcase_add_test(tcase, rate);
    tcase_add_test(tcase, fairness);
    tcase_add_test(tcase, order);
    tcase_add_test(tcase, loss);
    tcase_add_test(tcase, everybody);
    tcase_add_test(tcase, memory);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NORMAL);
}
