/* The checkpoint: written, read, found in, and never believed when it is damaged. */
#include "unit.h"

static struct tlog_checkpoint_row row(uint8_t topic, uint32_t partition)
{
    struct tlog_checkpoint_row made = {.partition = partition,
                                       .failed = partition % 2,
                                       .synced = 1000 * topic + partition,
                                       .end = UINT64_MAX - partition,
                                       .segment_pos = 7,
                                       .start = 500 * topic + partition,
                                       .start_seq = 11 + partition,
                                       .segments_hash = 12,
                                       .log_inode = 8,
                                       .idx_inode = 9};
    memset(made.topic_id, topic, 16);
    return made;
}

static void fill(struct tlog_checkpoint *checkpoint, unsigned topics, unsigned partitions)
{
    *checkpoint = (struct tlog_checkpoint){
        .boot_id = "this boot", .store_id = "the store's own", .lsn = 123456789, .clock = {-1, 2, 3}};
    checkpoint->rows = calloc(topics * partitions + 1, sizeof *checkpoint->rows);
    for (unsigned i = 0; i < topics; i++)
        for (unsigned k = 0; k < partitions; k++) /* in no order */
            checkpoint->rows[checkpoint->count++] = row((uint8_t)(topics - i), (k * 7 + 3) % partitions);
}

static void write_one(struct unit *u, unsigned topics, unsigned partitions)
{
    struct tlog_checkpoint checkpoint;
    fill(&checkpoint, topics, partitions);
    assert_int_equal(tlog_checkpoint_write(u->io, u->path, &checkpoint), 0);
    free(checkpoint.rows);
}

static void test_round_trip(void **state)
{
    struct unit *u = *state;
    struct tlog_checkpoint got;
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &got), -ENOENT);
    assert_null(got.rows);
    write_one(u, 20, 50);
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &got), 0);
    assert_string_equal(got.boot_id, "this boot");
    assert_memory_equal(got.store_id, "the store's own", 16);
    assert_int_equal(got.lsn, 123456789);
    assert_int_equal(got.count, 1000);
    assert_true(got.clock.time_ns == -1 && got.clock.boot_ns == 2 && got.clock.doubt_ns == 3);
    for (unsigned i = 1; i <= 20; i++)
        for (unsigned k = 0; k < 50; k++) {
            struct tlog_checkpoint_row wanted = row((uint8_t)i, k);
            const struct tlog_checkpoint_row *found = tlog_checkpoint_find(&got, wanted.topic_id, k);
            assert_non_null(found);
            assert_int_equal(found->partition, k);
            assert_int_equal(found->synced, wanted.synced);
            assert_true(found->end == wanted.end);
            assert_int_equal(found->failed, k % 2);
            assert_int_equal(found->segment_pos, 7);
            assert_int_equal(found->start, wanted.start);
            assert_int_equal(found->start_seq, wanted.start_seq);
            assert_int_equal(found->segments_hash, 12);
            assert_int_equal(found->log_inode, 8);
            assert_int_equal(found->idx_inode, 9);
            assert_null(tlog_checkpoint_find(&got, wanted.topic_id, k + 50));
        }
    free(got.rows);
    write_one(u, 0, 0);
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &got), 0);
    assert_int_equal(got.count, 0);
    assert_null(tlog_checkpoint_find(&got, got.store_id, 0));
    free(got.rows);
}

static void test_any_change_is_noticed(void **state)
{
    struct unit *u = *state;
    struct tlog_checkpoint got;
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    write_one(u, 2, 2);
    uint64_t bytes = unit_size(u, "checkpoint");
    for (uint64_t foff = 0; foff < bytes; foff++) {
        unit_flip(u, "checkpoint", foff);
        assert_int_equal(tlog_checkpoint_read(u->io, u->path, &got), -EBADMSG);
        assert_null(got.rows);
        unit_flip(u, "checkpoint", foff);
    }
    for (uint64_t left = bytes; left-- > 0;) {
        unit_truncate(u, "checkpoint", left);
        assert_int_equal(tlog_checkpoint_read(u->io, u->path, &got), -EBADMSG);
    }
    write_one(u, 2, 2);
    unit_put(u, "checkpoint", bytes, "more", 4);
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &got), -EBADMSG);
}

static void test_the_old_one_holds_until_the_new_one_does(void **state)
{
    struct unit *u = *state;
    struct tlog_checkpoint got, next;
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    assert_int_equal(u->io->sync_dir(u->io, "/"), 0);
    write_one(u, 1, 1);
    fill(&next, 2, 2);
    for (uint64_t skip = 0;; skip++) {
        simdisk_fail(u->disk, SIM_MUTATING, skip, EIO, false);
        int r = tlog_checkpoint_write(u->io, u->path, &next);
        bool struck = simdisk_failed(u->disk);
        simdisk_fail(u->disk, 0, 0, 0, false);
        assert_int_equal(r, struck ? -EIO : 0);
        struct simdisk *cut = simdisk_clone(u->disk);
        simdisk_power_cut(cut, skip);
        assert_int_equal(tlog_checkpoint_read(simdisk_io(cut), u->path, &got), 0);
        assert_true(got.count == 1 || got.count == 4);
        assert_true(got.count == 4 || struck); /* once it is said to be written, it is there */
        free(got.rows);
        simdisk_free(cut);
        if (!struck)
            break;
    }
    assert_false(unit_exists(u, "checkpoint.new"));
    free(next.rows);
}

/* One that was written before there were trims: nothing was trimmed, and no time is known. */
static void test_the_format_before(void **state)
{
    struct unit *u = *state;
    struct tlog_checkpoint got;
    uint8_t old[104 + 64 + 8] = "TLCP";
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    tlog_put_u32(old + 4, 1);
    memcpy(old + 8, "the store's own", 16);
    memcpy(old + 24, "this boot", 10);
    tlog_put_u64(old + 88, 77);
    tlog_put_u64(old + 96, 1);
    memset(old + 104, 5, 16);
    tlog_put_u32(old + 120, 3);
    for (unsigned i = 0; i < 5; i++)
        tlog_put_u64(old + 128 + (size_t)8 * i, 100 + i);
    tlog_put_u64(old + 168, tlog_hash(old, 168, 0));
    unit_put(u, "checkpoint", 0, old, sizeof old);
    assert_int_equal(tlog_checkpoint_read(u->io, u->path, &got), 0);
    assert_int_equal(got.lsn, 77);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.clock.time_ns, 0);
    assert_int_equal(got.rows[0].partition, 3);
    assert_int_equal(got.rows[0].synced, 100);
    assert_int_equal(got.rows[0].idx_inode, 104);
    assert_int_equal(got.rows[0].start, 0);
    free(got.rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_round_trip),
        UNIT_SIM(test_any_change_is_noticed),
        UNIT_SIM(test_the_format_before),
        UNIT_SIM(test_the_old_one_holds_until_the_new_one_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
