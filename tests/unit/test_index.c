/* The .idx file's header and entries, and the chain. */
#include "unit.h"

#include "log/bytes.h"

static const struct tlog_index_header header = {
    .topic_id = "sixteen bytes id", .pos = 0x1122334455667788, .seq = 77, .chain = 0xfedcba9876543210, .time_ns = -5};

static const struct tlog_entry sample = {.pos = 0x0102030405060708,
                                         .seq = 0x1112131415161718,
                                         .time_ns = 0x2122232425262728,
                                         .length_bytes = 0x31323334,
                                         .records = 0x41424344,
                                         .epoch = 0x51525354,
                                         .flags = TLOG_ENTRY_ROLL,
                                         .producer = 0x6162636465666768,
                                         .producer_seq = 0x71727374,
                                         .leader = 0x01828384,
                                         .chain = 0x0192939495969798};

static void test_header(void **state)
{
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES], changed[TLOG_INDEX_HEADER_BYTES];
    struct tlog_index_header got;
    (void)state;
    tlog_index_header_encode(bytes, &header);
    assert_memory_equal(bytes, "TLIX\1\0\0\0sixteen bytes id\x88\x77\x66\x55", 28);
    assert_int_equal(tlog_index_header_decode(&got, bytes), 0);
    assert_memory_equal(got.topic_id, header.topic_id, 16);
    assert_true(got.pos == header.pos && got.seq == 77 && got.chain == header.chain && got.time_ns == -5);
    for (unsigned i = 0; i < 8 * sizeof bytes; i++) { /* any bit */
        memcpy(changed, bytes, sizeof bytes);
        changed[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(tlog_index_header_decode(&got, changed), -EBADMSG);
    }
    /* a newer format says so, its checksum being right */
    bytes[4] = 2;
    tlog_put_u64(bytes + 56, tlog_hash(bytes, 56, 0));
    assert_int_equal(tlog_index_header_decode(&got, bytes), -ENOTSUP);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(tlog_index_header_decode(&got, bytes), -EBADMSG);
}

static void test_entry(void **state)
{
    uint8_t bytes[TLOG_ENTRY_BYTES];
    struct tlog_entry got;
    (void)state;
    static const uint8_t expected[TLOG_ENTRY_BYTES] = {
        8,    7,    6,    5,    4,    3,    2,    1,    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31, 0x44, 0x43, 0x42, 0x41,
        0x54, 0x53, 0x52, 0x51, 2,    0,    0,    0,    0x68, 0x67, 0x66, 0x65, 0x64, 0x63, 0x62, 0x61,
        0x74, 0x73, 0x72, 0x71, 0x84, 0x83, 0x82, 0x01, 0x98, 0x97, 0x96, 0x95, 0x94, 0x93, 0x92, 0x01};
    tlog_entry_encode(bytes, &sample);
    assert_memory_equal(bytes, expected, sizeof expected);
    memset(&got, 0, sizeof got);
    tlog_entry_decode(&got, bytes);
    assert_memory_equal(&got, &sample, sizeof got);
}

static void test_the_chain_covers_everything(void **state)
{
    uint8_t bytes[TLOG_ENTRY_BYTES];
    struct tlog_entry changed;
    (void)state;
    uint64_t chain = tlog_entry_chain(&sample, 42);
    assert_true(chain != tlog_entry_chain(&sample, 43)); /* the data, and by its seed what came before */
    for (unsigned i = 0; i < 8 * sizeof bytes; i++) {
        tlog_entry_encode(bytes, &sample);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        tlog_entry_decode(&changed, bytes);
        assert_true((tlog_entry_chain(&changed, 42) == chain) == (i >= 8 * 56)); /* all but itself */
    }
    assert_true(tlog_root_chain(header.topic_id, 0) != tlog_root_chain(header.topic_id, 1));
    assert_true(tlog_root_chain(header.topic_id, 0) != tlog_root_chain((const uint8_t *)"sixteen bytes ie", 0));
}

static void test_what_follows(void **state)
{
    struct tlog_entry entry = sample;
    (void)state;
    assert_true(tlog_entry_follows(&entry, entry.pos, entry.seq, entry.time_ns));
    assert_true(tlog_entry_follows(&entry, entry.pos, entry.seq, entry.time_ns - 1));
    assert_false(tlog_entry_follows(&entry, entry.pos + 1, entry.seq, entry.time_ns));
    assert_false(tlog_entry_follows(&entry, entry.pos, entry.seq + 1, entry.time_ns));
    assert_false(tlog_entry_follows(&entry, entry.pos, entry.seq, entry.time_ns + 1)); /* time went back */
    entry.flags = 8;
    assert_false(tlog_entry_follows(&entry, entry.pos, entry.seq, entry.time_ns));
    entry.flags = 0;
    entry.records = 0;
    assert_false(tlog_entry_follows(&entry, entry.pos, entry.seq, entry.time_ns));
    entry.length_bytes = 0;
    assert_false(tlog_entry_follows(&entry, entry.pos, entry.seq, entry.time_ns));
    entry.flags = TLOG_ENTRY_EPOCH; /* only an epoch's beginning has no bytes */
    assert_true(tlog_entry_follows(&entry, entry.pos, entry.seq, entry.time_ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_the_chain_covers_everything),
        cmocka_unit_test(test_what_follows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
