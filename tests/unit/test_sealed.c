/* The sealed file: what goes in comes out, by zstd's own decoder as well; and nothing that is not such a file is taken
 * for one or brings anybody down. */
#include "unit.h"

#include <zstd.h>

#include "log/sealed.h"
#include "log/sealed_format.h"

/* ---- logs made up for it ---- */

struct shape {
    uint32_t least, most; /* bytes of an entry */
    uint32_t entries;
    unsigned epoch_each; /* every so many entries an epoch begins, one of no length; 0: never */
    unsigned producers;  /* how many take turns */
    bool noise;          /* data that nothing makes smaller */
    int level;
};

struct made {
    struct tlog_index_header header;
    struct tlog_entry *entries;
    uint32_t count;
    uint8_t *data;
    size_t bytes;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill(uint8_t *to, size_t bytes, bool noise, uint64_t *random)
{
    static const char *const words[] = {"GET ", "POST ", "/index.html ", "200 ", "404 ", "user=", "\n", "10.0.0."};
    for (size_t i = 0; i < bytes;) {
        char word[24];
        uint64_t r = next_random(random);
        size_t n = sizeof r;
        if (noise)
            memcpy(word, &r, sizeof r);
        else
            n = (size_t)snprintf(word, sizeof word, "%s%u", words[r % 8], (unsigned)(r >> 32) % 1000);
        n = n < bytes - i ? n : bytes - i;
        memcpy(to + i, word, n);
        i += n;
    }
}

static struct tlog_entry make_entry(const struct tlog_point *at, const struct shape *shape, uint32_t i,
                                    uint64_t *random)
{
    struct tlog_entry entry = {.pos = at->pos, .seq = at->seq, .epoch = at->epoch, .leader = at->leader};
    entry.time_ns = at->time_ns + (int64_t)(next_random(random) % 1000000);
    if (shape->epoch_each && i % shape->epoch_each == 0) {
        entry.epoch++;
        entry.leader = i % 3;
        entry.flags = TLOG_ENTRY_EPOCH;
        return entry;
    }
    entry.length_bytes = shape->least + (uint32_t)(next_random(random) % (shape->most - shape->least + 1));
    entry.records = 1 + entry.length_bytes / 100;
    if (i == 0)
        entry.flags = TLOG_ENTRY_ROLL;
    if (shape->producers) {
        entry.producer = 0x9e3779b97f4a7c15 * (1 + i % shape->producers);
        entry.producer_seq = i;
    }
    return entry;
}

static struct made make(const struct shape *shape)
{
    uint64_t random = 88172645463325252;
    struct made made = {.header = {.topic_id = "sixteen bytes id",
                                   .pos = 123456789,
                                   .seq = 1000,
                                   .chain = 42,
                                   .time_ns = 1790000000000000000}};
    struct tlog_point at = {made.header.pos, made.header.seq, made.header.chain, made.header.time_ns, 0, 0};
    made.entries = calloc(shape->entries + 1, sizeof *made.entries);
    made.data = malloc((size_t)shape->entries * shape->most + 1);
    assert_true(made.entries && made.data);
    fill(made.data, (size_t)shape->entries * shape->most, shape->noise, &random);
    for (; made.count < shape->entries; made.count++) {
        struct tlog_entry entry = make_entry(&at, shape, made.count, &random);
        entry.chain = tlog_entry_chain(&entry, tlog_hash(made.data + made.bytes, entry.length_bytes, at.chain));
        made.entries[made.count] = entry;
        made.bytes += entry.length_bytes;
        at = tlog_point_after(&entry);
    }
    return made;
}

static void unmake(struct made *made)
{
    free(made->entries);
    free(made->data);
}

/* ---- files ---- */

#define NAME "sealed.zst"

static void begin(struct unit *u, const struct made *made, int level, struct tlog_sealing **out)
{
    char path[160];
    (void)u->io->mkdir(u->io, u->path);
    snprintf(path, sizeof path, "%s/" NAME, u->path);
    assert_int_equal(tlog_sealing_new(out, u->io, path, &made->header, level), 0);
}

static void seal(struct unit *u, const struct made *made, int level)
{
    struct tlog_sealing *sealing;
    size_t done = 0;
    begin(u, made, level, &sealing);
    for (uint32_t i = 0; i < made->count; i++) {
        size_t half = made->entries[i].length_bytes / 2;
        assert_int_equal(tlog_sealing_data(sealing, made->data + done, half), 0);
        assert_int_equal(tlog_sealing_data(sealing, made->data + done + half, made->entries[i].length_bytes - half), 0);
        assert_int_equal(tlog_sealing_entry(sealing, &made->entries[i]), 0);
        done += made->entries[i].length_bytes;
    }
    assert_int_equal(tlog_sealing_finish(sealing), 0);
    tlog_sealing_free(sealing);
}

static int try_open(struct unit *u, const struct made *made, struct tlog_sealed **out)
{
    char path[160];
    snprintf(path, sizeof path, "%s/" NAME, u->path);
    int fd = u->io->open(u->io, path, TLOG_IO_READ);
    assert_true(fd >= 0);
    u->error.text[0] = 0;
    *out = NULL;
    return tlog_sealed_open(out, u->io, fd, made->header.pos, made->header.topic_id, &u->error);
}

static struct tlog_sealed *opened(struct unit *u, const struct made *made)
{
    struct tlog_sealed *sealed;
    int r = try_open(u, made, &sealed);
    if (r < 0)
        fail_msg("%d: %s", r, u->error.text);
    return sealed;
}

/* ---- what comes out ---- */

static void assert_entry(const struct tlog_entry *got, const struct tlog_entry *expected, bool chain)
{
    struct tlog_entry without = *expected;
    if (!chain)
        without.chain = 0;
    assert_memory_equal(got, &without, sizeof without);
}

/* All entries, and a chain for the last one that ends in each frame and in each group. */
static void assert_entries(const struct tlog_sealed *sealed, const struct made *made)
{
    uint32_t at = 0;
    for (uint32_t g = 0; g < sealed->groups; g++) {
        struct tlog_point before;
        struct tlog_entry *entries;
        size_t count;
        assert_int_equal(tlog_sealed_group(sealed, g, &before, &entries, &count), 0);
        assert_true(before.pos == made->entries[at].pos && before.seq == made->entries[at].seq);
        assert_true(before.chain == (at > 0 ? made->entries[at - 1].chain : made->header.chain));
        for (size_t i = 0; i < count; i++, at++) {
            const struct tlog_entry *entry = &made->entries[at];
            uint64_t end = entry->pos + entry->length_bytes - made->header.pos;
            uint64_t next = at + 1 < made->count ? entry[1].pos + entry[1].length_bytes - made->header.pos : 0;
            bool last =
                i + 1 == count || (end ? end - 1 : 0) / TLOG_FRAME_BYTES != (next ? next - 1 : 0) / TLOG_FRAME_BYTES;
            assert_entry(&entries[i], entry, last);
        }
        free(entries);
    }
    assert_int_equal(at, made->count);
    assert_int_equal(sealed->entries, made->count);
}

static void assert_frames(const struct tlog_sealed *sealed, const struct made *made)
{
    uint8_t *frame = malloc(TLOG_FRAME_BYTES);
    size_t at = 0;
    for (uint32_t f = 0; f < sealed->frames; f++) {
        size_t bytes = tlog_sealed_frame_bytes(sealed, f);
        assert_int_equal(tlog_sealed_frame(sealed, f, frame), 0);
        assert_true(bytes <= made->bytes - at);
        assert_memory_equal(frame, made->data + at, bytes);
        at += bytes;
    }
    assert_int_equal(at, made->bytes);
    free(frame);
}

/* As zstdcat does it: frame after frame, what can be skipped is. */
static void assert_zstdcat(struct unit *u, const struct made *made)
{
    size_t bytes, more = 1;
    char *file = unit_file(u, NAME, &bytes);
    uint8_t *to = malloc(made->bytes + 1);
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {file, bytes, 0};
    ZSTD_outBuffer out = {to, made->bytes + 1, 0};
    while (in.pos < in.size) {
        more = ZSTD_decompressStream(stream, &out, &in);
        assert_false(ZSTD_isError(more));
    }
    assert_int_equal(more, 0); /* no frame is left unfinished */
    assert_int_equal(out.pos, made->bytes);
    assert_memory_equal(to, made->data, made->bytes);
    ZSTD_freeDStream(stream);
    free(to);
    free(file);
}

static void round_trip(struct unit *u, const struct shape *shape)
{
    struct made made = make(shape);
    seal(u, &made, shape->level);
    struct tlog_sealed *sealed = opened(u, &made);
    assert_int_equal(tlog_sealed_bytes(sealed), made.bytes);
    assert_memory_equal(&sealed->header, &made.header, sizeof made.header);
    struct tlog_point end = tlog_point_after(&made.entries[made.count - 1]);
    assert_true(sealed->end.pos == end.pos && sealed->end.seq == end.seq && sealed->end.chain == end.chain &&
                sealed->end.time_ns == end.time_ns && sealed->end.epoch == end.epoch);
    assert_int_equal(sealed->frames, (made.bytes + TLOG_FRAME_BYTES - 1) / TLOG_FRAME_BYTES);
    assert_entries(sealed, &made);
    assert_frames(sealed, &made);
    assert_zstdcat(u, &made);
    tlog_sealed_free(sealed);
    unmake(&made);
}

static void test_what_goes_in_comes_out(void **state)
{
    static const struct shape shapes[] = {
        {.least = 1, .most = 1, .entries = 1, .level = 1},
        {.least = 4096, .most = 4200, .entries = 1000, .level = 1},
        {.least = 90, .most = 110, .entries = 9000, .level = 3},
        {.least = 1, .most = 300000, .entries = 20, .level = 1},
        {.least = TLOG_FRAME_BYTES, .most = TLOG_FRAME_BYTES, .entries = 3, .level = 1},
        {.least = TLOG_FRAME_BYTES - 1, .most = TLOG_FRAME_BYTES + 1, .entries = 7, .level = 1},
        {.least = 1 << 16, .most = 1 << 16, .entries = 4 * 3 + 1, .epoch_each = 3, .level = 1},
        {.least = 1, .most = 100, .entries = TLOG_GROUP_ENTRIES, .producers = 1, .level = 1},
        {.least = 1, .most = 100, .entries = TLOG_GROUP_ENTRIES + 1, .producers = 7, .level = 1},
        {.least = 1, .most = 100, .entries = 2 * TLOG_GROUP_ENTRIES, .producers = 5000, .epoch_each = 100, .level = 19},
        {.least = 1, .most = 1, .entries = 3, .epoch_each = 1, .level = 1}, /* entries and no bytes */
        {.least = 3000, .most = 5000, .entries = 300, .noise = true, .level = 1},
        {.least = 3000, .most = 5000, .entries = 300, .noise = true, .level = TLOG_SEALED_STORED},
        {.least = 1, .most = 300000, .entries = 20, .level = TLOG_SEALED_STORED},
        {.least = 128 << 10, .most = 128 << 10, .entries = 3, .level = TLOG_SEALED_STORED},
        {.least = 1, .most = 1, .entries = 1, .level = TLOG_SEALED_STORED},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        round_trip(*state, &shapes[i]);
}

static void test_nothing_at_all(void **state)
{
    struct unit *u = *state;
    struct shape shape = {.least = 1, .most = 1};
    struct made made = make(&shape);
    seal(u, &made, 1);
    struct tlog_sealed *sealed = opened(u, &made);
    uint32_t group;
    assert_true(tlog_sealed_bytes(sealed) == 0 && sealed->frames == 0 && sealed->groups == 0 && sealed->entries == 0);
    assert_int_equal(tlog_sealed_find_group(sealed, TLOG_BY_POS, 0, &group), 0);
    assert_int_equal(group, 0);
    assert_zstdcat(u, &made);
    tlog_sealed_free(sealed);
    unmake(&made);
}

/* ---- finding ---- */

static bool is_before(const struct tlog_entry *entry, enum tlog_by by, uint64_t value)
{
    return by == TLOG_BY_SEQ    ? entry->seq + entry->records <= value
           : by == TLOG_BY_TIME ? entry->time_ns < (int64_t)value
                                : entry->pos + entry->length_bytes <= value;
}

static void assert_found(const struct tlog_sealed *sealed, const struct made *made, enum tlog_by by, uint64_t value)
{
    uint32_t group, n = 0;
    while (n < made->count && is_before(&made->entries[n], by, value))
        n++;
    assert_int_equal(tlog_sealed_find_group(sealed, by, value, &group), 0);
    assert_int_equal(group, n == made->count ? sealed->groups : n / TLOG_GROUP_ENTRIES);
}

static void test_finding_a_group(void **state)
{
    struct unit *u = *state;
    struct shape shape = {.least = 50, .most = 150, .entries = 2 * TLOG_GROUP_ENTRIES + 7, .level = 1};
    struct made made = make(&shape);
    seal(u, &made, 1);
    struct tlog_sealed *sealed = opened(u, &made);
    for (uint32_t i = 0; i < made.count; i += i % TLOG_GROUP_ENTRIES < 2 ? 1 : TLOG_GROUP_ENTRIES / 2 - 1) {
        for (uint64_t delta = 0; delta < 3; delta++) {
            assert_found(sealed, &made, TLOG_BY_SEQ, made.entries[i].seq + delta - 1);
            assert_found(sealed, &made, TLOG_BY_POS, made.entries[i].pos + delta - 1);
            assert_found(sealed, &made, TLOG_BY_TIME, (uint64_t)made.entries[i].time_ns + delta - 1);
        }
    }
    assert_found(sealed, &made, TLOG_BY_SEQ, 0);
    assert_found(sealed, &made, TLOG_BY_POS, UINT64_MAX);
    assert_found(sealed, &made, TLOG_BY_TIME, INT64_MAX);
    tlog_sealed_free(sealed);
    unmake(&made);
}

/* ---- what is refused ---- */

static void test_a_chain_that_is_not_right(void **state)
{
    struct unit *u = *state;
    struct shape shape = {.least = 1000, .most = 2000, .entries = 3, .level = 1};
    for (unsigned what = 0; what < 6; what++) {
        struct made made = make(&shape);
        struct tlog_sealing *sealing;
        struct tlog_entry entry = made.entries[1];
        begin(u, &made, 1, &sealing);
        assert_int_equal(tlog_sealing_data(sealing, made.data, made.entries[0].length_bytes), 0);
        assert_int_equal(tlog_sealing_entry(sealing, &made.entries[0]), 0);
        made.data[entry.pos - made.header.pos + 500] ^= what == 0;
        entry.chain ^= what == 1;
        entry.records += what == 2;
        entry.pos += what == 3;
        entry.time_ns -= what == 4 ? 2000000 : 0;
        assert_int_equal(
            tlog_sealing_data(sealing, made.data + made.entries[0].length_bytes, entry.length_bytes - (what == 5)), 0);
        assert_int_equal(tlog_sealing_entry(sealing, &entry), -EBADMSG);
        assert_int_equal(tlog_sealing_finish(sealing), -EBADMSG); /* data that no entry covers */
        tlog_sealing_free(sealing);
        unmake(&made);
    }
}

static void test_of_another(void **state)
{
    struct unit *u = *state;
    struct shape shape = {.least = 10, .most = 20, .entries = 3, .level = 1};
    struct made made = make(&shape), other = made;
    struct tlog_sealed *sealed;
    seal(u, &made, 1);
    other.header.pos++;
    assert_int_equal(try_open(u, &other, &sealed), -EBADMSG);
    assert_string_equal(u->error.text, "belongs to position 123456789");
    other = made;
    other.header.topic_id[3]++;
    assert_int_equal(try_open(u, &other, &sealed), -EBADMSG);
    assert_string_equal(u->error.text, "belongs to another topic");
    unmake(&made);
}

/* One frame is damaged: the others are read. */
static void test_a_damaged_frame(void **state)
{
    struct unit *u = *state;
    for (int level = 0; level < 2; level++) {
        struct shape shape = {.least = 4000, .most = 5000, .entries = 200, .level = level};
        struct made made = make(&shape);
        uint8_t *frame = malloc(TLOG_FRAME_BYTES);
        seal(u, &made, level);
        struct tlog_sealed *sealed = opened(u, &made);
        uint64_t foff = (sealed->frame_foffs[1] + sealed->frame_foffs[2]) / 2;
        tlog_sealed_free(sealed);
        unit_flip(u, NAME, foff);
        sealed = opened(u, &made);
        for (uint32_t f = 0; f < sealed->frames; f++)
            assert_int_equal(tlog_sealed_frame(sealed, f, frame), f == 1 ? -EBADMSG : 0);
        assert_entries(sealed, &made);
        tlog_sealed_free(sealed);
        free(frame);
        unmake(&made);
    }
}

/* ---- nonsense ---- */

/* Whether something was given out that is not what was put in, without a word. */
static bool lied;

/* Reads all of it that can be read. Whether it is all there, as it was. */
static bool whole(struct unit *u, const struct made *made)
{
    struct tlog_sealed *sealed;
    int r = try_open(u, made, &sealed);
    if (r < 0) {
        assert_true(r == -EBADMSG || r == -ENOTSUP);
        assert_true(u->error.text[0] != 0);
        return false;
    }
    bool good = tlog_sealed_bytes(sealed) == made->bytes && sealed->entries == made->count;
    uint8_t *frame = malloc(TLOG_FRAME_BYTES);
    for (uint32_t f = 0; f < sealed->frames; f++) {
        r = tlog_sealed_frame(sealed, f, frame);
        assert_true(r == 0 || r == -EBADMSG);
        bool same = r == 0 && made->bytes == tlog_sealed_bytes(sealed) &&
                    memcmp(frame, made->data + (size_t)f * TLOG_FRAME_BYTES, tlog_sealed_frame_bytes(sealed, f)) == 0;
        lied = lied || (r == 0 && !same);
        good = good && same;
    }
    free(frame);
    uint64_t counted = 0;
    for (uint32_t g = 0; g < sealed->groups; g++) {
        struct tlog_point before = {0};
        struct tlog_entry *entries;
        size_t count;
        uint32_t found;
        r = tlog_sealed_group(sealed, g, &before, &entries, &count);
        assert_true(r == 0 || r == -EBADMSG);
        good = good && r == 0;
        for (size_t i = 0; r == 0 && i < count; i++, counted++) {
            if (counted < made->count && entries[i].chain == 0)
                entries[i].chain = made->entries[counted].chain;
            bool same = counted < made->count && memcmp(&entries[i], &made->entries[counted], sizeof *entries) == 0;
            lied = lied || !same;
            good = good && same;
        }
        if (r == 0)
            free(entries);
        r = tlog_sealed_find_group(sealed, TLOG_BY_TIME, (uint64_t)before.time_ns, &found);
        assert_true(r == 0 || r == -EBADMSG);
    }
    tlog_sealed_free(sealed);
    return good;
}

/* No bit that is not as it was goes unnoticed, unless it is one of a frame that decoders ignore. */
static void test_any_bit(void **state)
{
    struct unit *u = *state;
    for (int level = 0; level < 2; level++) {
        struct shape shape = {.least = 5, .most = 30, .entries = 16, .producers = 3, .epoch_each = 5, .level = level};
        struct made made = make(&shape);
        size_t bytes, unnoticed = 0;
        seal(u, &made, level);
        struct tlog_sealed *sealed = opened(u, &made);
        size_t index = sealed->frame_foffs[sealed->frames];
        tlog_sealed_free(sealed);
        char *file = unit_file(u, NAME, &bytes);
        lied = false;
        for (size_t i = 0; i < bytes * 8; i++) {
            char byte = (char)(file[i / 8] ^ 1 << i % 8);
            unit_put(u, NAME, i / 8, &byte, 1);
            bool same = whole(u, &made);
            if (lied || (same && i / 8 >= index))
                fail_msg("bit %zu of byte %zu was not missed", i % 8, i / 8);
            unnoticed += same;
            unit_put(u, NAME, i / 8, &file[i / 8], 1);
        }
        assert_true(whole(u, &made));
        assert_true(unnoticed < index / 4);
        free(file);
        unmake(&made);
    }
}

static void test_cut_short(void **state)
{
    struct unit *u = *state;
    struct shape shape = {.least = 20, .most = 60, .entries = 50, .level = 1};
    struct made made = make(&shape);
    size_t bytes;
    seal(u, &made, 1);
    char *file = unit_file(u, NAME, &bytes);
    for (size_t left = bytes; left-- > 0;) {
        unit_truncate(u, NAME, left);
        assert_false(whole(u, &made));
    }
    unit_put(u, NAME, 0, file, bytes);
    unit_put(u, NAME, bytes, "x", 1);
    assert_false(whole(u, &made));
    free(file);
    unmake(&made);
}

/* The directory's hash made right again, so that what it vouches for is nonsense all the same. */
static void rehash(char *file, size_t bytes)
{
    uint32_t rows = tlog_get_u32((uint8_t *)file + bytes - 9);
    if (rows == 0 || rows > bytes / 8)
        return;
    size_t index = 0;
    const uint8_t *row = (uint8_t *)file + bytes - 9 - rows * 8;
    for (uint32_t i = 0; i + 1 < rows; i++)
        index += tlog_get_u32(row + i * 8);
    if (index + 8 + TLOG_HEAD_BYTES > bytes)
        return;
    uint8_t *head = (uint8_t *)file + index + 8;
    tlog_put_u64(head + 64, tlog_hash(head + 8, 56, 0)); /* the segment's header has its own */
    size_t left = bytes - index - 8 - TLOG_HEAD_BYTES, groups = tlog_get_u32(head + 128);
    if (groups > left / TLOG_ROW_BYTES || left - groups * TLOG_ROW_BYTES < 8)
        return;
    size_t covered = TLOG_HEAD_BYTES + groups * TLOG_ROW_BYTES;
    for (size_t g = 0; g < groups; g++) { /* so have the payloads */
        uint8_t *line = head + TLOG_HEAD_BYTES + g * TLOG_ROW_BYTES;
        uint64_t offset = tlog_get_u32(line + 48), length = tlog_get_u32(line + 52);
        if (offset + length <= left - groups * TLOG_ROW_BYTES - 8)
            tlog_put_u64(line + 56, tlog_hash(head + covered + 8 + offset, length, tlog_get_u64(line + 16)));
    }
    tlog_put_u64(head + covered, tlog_hash(head, covered, 0));
}

static void mutate(char *file, size_t bytes, uint64_t *random)
{
    static const uint32_t numbers[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 4096, 4097, 262144, 64, 8};
    for (unsigned times = 1 + next_random(random) % 4; times > 0; times--) {
        size_t at = next_random(random) % bytes;
        if (next_random(random) % 2 && bytes > 1200) /* where the index and the seek table are */
            at = bytes - 1 - next_random(random) % 1200;
        switch (next_random(random) % 3) {
        case 0:
            file[at] ^= (char)(1 << next_random(random) % 8);
            break;
        case 1:
            file[at] = (char)next_random(random);
            break;
        default:
            at = at / 4 * 4;
            if (at + 4 <= bytes)
                tlog_put_u32((uint8_t *)file + at, numbers[next_random(random) % 10]);
        }
    }
}

static void test_nonsense(void **state)
{
    struct unit *u = *state;
    const char *scale = getenv("TOPICFS_TEST_SCALE");
    unsigned rounds = 800 * (scale && atoi(scale) > 0 ? (unsigned)atoi(scale) : 1);
    uint64_t random = 0x2545f4914f6cdd1d;
    for (int level = 0; level < 2; level++) {
        struct shape shape = {
            .least = 1, .most = 200, .entries = 5000, .producers = 3, .epoch_each = 700, .level = level};
        struct made made = make(&shape);
        size_t bytes;
        seal(u, &made, level);
        char *file = unit_file(u, NAME, &bytes), *changed = malloc(bytes);
        unsigned opened_count = 0;
        for (unsigned i = 0; i < rounds / 2; i++) {
            struct tlog_sealed *sealed;
            memcpy(changed, file, bytes);
            mutate(changed, bytes, &random);
            if (i % 2)
                rehash(changed, bytes);
            unit_put(u, NAME, 0, changed, bytes);
            (void)whole(u, &made);
            opened_count += try_open(u, &made, &sealed) == 0;
            tlog_sealed_free(sealed);
        }
        assert_true(opened_count > rounds / 20); /* some get past the door */
        for (unsigned i = 0; i < 50; i++) {
            for (size_t k = 0; k < bytes; k++)
                changed[k] = (char)next_random(&random);
            if (i % 2) { /* with an end that looks right */
                tlog_put_u32((uint8_t *)changed + bytes - 9, (uint32_t)(next_random(&random) % 100));
                changed[bytes - 5] = 0;
                tlog_put_u32((uint8_t *)changed + bytes - 4, TLOG_SEEK_FOOTER_MAGIC);
            }
            unit_put(u, NAME, 0, changed, bytes);
            assert_false(whole(u, &made));
        }
        free(file);
        free(changed);
        unmake(&made);
    }
}

/* ---- several at a time ---- */

struct reading {
    const struct tlog_sealed *sealed;
    const struct made *made;
};

static void *read_all_frames(void *arg)
{
    const struct reading *reading = arg;
    uint8_t *frame = malloc(TLOG_FRAME_BYTES);
    bool good = frame != NULL;
    for (unsigned times = 0; good && times < 5; times++) {
        for (uint32_t f = 0; good && f < reading->sealed->frames; f++)
            good = tlog_sealed_frame(reading->sealed, f, frame) == 0 &&
                   memcmp(frame, reading->made->data + (size_t)f * TLOG_FRAME_BYTES,
                          tlog_sealed_frame_bytes(reading->sealed, f)) == 0;
    }
    free(frame);
    return good ? arg : NULL;
}

static void test_readers_side_by_side(void **state)
{
    struct unit *u = *state;
    struct shape shape = {.least = 4000, .most = 5000, .entries = 500, .level = 1};
    struct made made = make(&shape);
    seal(u, &made, 1);
    struct tlog_sealed *sealed = opened(u, &made);
    struct reading reading = {sealed, &made};
    pthread_t threads[6];
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all_frames, &reading), 0);
    for (unsigned i = 0; i < 6; i++) {
        void *good;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    tlog_sealed_free(sealed);
    unmake(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_what_goes_in_comes_out),
        UNIT_BOTH(test_nothing_at_all),
        UNIT_MEMORY(test_finding_a_group),
        UNIT_SIM(test_a_chain_that_is_not_right),
        UNIT_SIM(test_of_another),
        UNIT_BOTH(test_a_damaged_frame),
        UNIT_MEMORY(test_any_bit),
        UNIT_MEMORY(test_cut_short),
        UNIT_MEMORY(test_nonsense),
        UNIT_MEMORY(test_readers_side_by_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
