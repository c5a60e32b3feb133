#include "unit.h"

#include <time.h>
#include <unistd.h>

struct tlog_verify unit_verified;

/* ---- fixtures ---- */

static void note(void *arg, const char *line)
{
    struct unit *u = arg;
    size_t at = strlen(u->notes);
    snprintf(u->notes + at, sizeof u->notes - at, "%s\n", line);
}

static void grown(void *arg, struct tlog_partition *partition)
{
    struct unit *u = arg;
    (void)partition;
    atomic_fetch_add(&u->grown, 1);
}

static struct unit *new_unit(void)
{
    struct unit *u = calloc(1, sizeof *u);
    assert_non_null(u);
    u->options = (struct tlog_options){.create = true, .no_upkeep = true, .note = note, .grown = grown, .arg = u};
    return u;
}

int unit_setup_sim(void **state)
{
    struct unit *u = new_unit();
    u->disk = simdisk_new(&(struct simdisk_options){.seed = 1});
    u->io = u->options.io = simdisk_io(u->disk);
    strcpy(u->path, "/store");
    u->options.journal_bytes = 256 << 10;
    *state = u;
    return 0;
}

int unit_setup_real(void **state)
{
    struct unit *u = new_unit();
    const char *directory = getenv("TMPDIR");
    if (!directory)
        directory = "/tmp";
    if (*state) /* from unit_setup_memory */
        directory = access(*state, W_OK) == 0 ? *state : directory;
    u->io = &tlog_io_posix;
    snprintf(u->base, sizeof u->base, "%.32s/topiclog-unit-XXXXXX", directory);
    assert_non_null(mkdtemp(u->base));
    snprintf(u->path, sizeof u->path, "%s/store", u->base);
    u->options.journal_bytes = 256 << 10;
    *state = u;
    return 0;
}

int unit_setup_memory(void **state)
{
    static char memory[] = "/dev/shm";
    *state = memory;
    return unit_setup_real(state);
}

int unit_teardown(void **state)
{
    struct unit *u = *state;
    if (u->store)
        (void)unit_try_close(u);
    if (u->disk)
        simdisk_free(u->disk);
    else
        tlog_tree_remove(u->io, u->base);
    free(u);
    return 0;
}

/* ---- the store ---- */

int unit_try_open(struct unit *u)
{
    u->notes[0] = 0;
    int r = tlog_store_open(&u->store, u->path, &u->options, &u->error);
    if (r < 0)
        u->store = NULL;
    return r;
}

void unit_open(struct unit *u)
{
    int r = unit_try_open(u);
    if (r < 0)
        fail_msg("opening: %s (%d)", u->error.text, r);
}

static void give_back(struct unit *u, unsigned i)
{
    if (u->kinds[i] == 'p')
        tlog_partition_unref(u->refs[i]);
    else if (u->kinds[i] == 't')
        tlog_topic_unref(u->refs[i]);
    else
        tlog_writer_close(u->refs[i]);
}

void unit_release(struct unit *u)
{
    while (u->ref_count > 0)
        give_back(u, --u->ref_count);
}

int unit_try_close(struct unit *u)
{
    unit_release(u);
    int r = tlog_store_close(u->store, &u->error);
    u->store = NULL;
    return r;
}

void unit_close(struct unit *u)
{
    int r = unit_try_close(u);
    if (r < 0)
        fail_msg("closing: %s (%d)", u->error.text, r);
}

void unit_reopen(struct unit *u)
{
    unit_close(u);
    unit_open(u);
}

/* Goes on with the disk as it is now; what the store does from here on happens to the disk that is thrown away. */
static void crash(struct unit *u)
{
    struct simdisk *now = simdisk_clone(u->disk);
    (void)unit_try_close(u);
    simdisk_free(u->disk);
    u->disk = now;
    u->io = u->options.io = simdisk_io(now);
}

void unit_kill(struct unit *u)
{
    crash(u);
    simdisk_kill(u->disk, 1);
}

void unit_power_cut(struct unit *u, uint64_t seed)
{
    crash(u);
    simdisk_power_cut(u->disk, seed);
}

struct tlog_recovery unit_recovery(struct unit *u)
{
    struct tlog_recovery recovery;
    tlog_store_recovery(u->store, &recovery);
    return recovery;
}

void unit_advance(struct unit *u, int64_t ms)
{
    simdisk_advance(u->disk, ms * 1000000);
    (void)tlog_store_upkeep(u->store);
}

/* ---- topics and partitions ---- */

static void *keep(struct unit *u, char kind, void *ref)
{
    assert_non_null(ref);
    assert_true(u->ref_count < sizeof u->kinds);
    u->kinds[u->ref_count] = kind;
    u->refs[u->ref_count++] = ref;
    return ref;
}

struct tlog_topic *unit_topic(struct unit *u, const char *name)
{
    struct tlog_topic *topic = tlog_topic_get(u->store, name);
    if (!topic)
        assert_int_equal(tlog_topic_create(u->store, name, 1, NULL, &topic, &u->error), 0);
    return keep(u, 't', topic);
}

struct tlog_partition *unit_partition(struct unit *u, const char *name, unsigned number)
{
    struct tlog_topic *topic = unit_topic(u, name);
    struct tlog_partition *p = tlog_partition_get(topic, number);
    if (!p) {
        assert_int_equal(tlog_topic_add_partition(topic, number, NULL), 0);
        p = tlog_partition_get(topic, number);
    }
    return keep(u, 'p', p);
}

struct tlog_partition *unit_get(struct unit *u, const char *name, unsigned number)
{
    struct tlog_topic *topic = keep(u, 't', tlog_topic_get(u->store, name));
    return keep(u, 'p', tlog_partition_get(topic, number));
}

void unit_config(struct unit *u, const char *topic, const char *text)
{
    int r = tlog_topic_config_set(unit_topic(u, topic), text, false, &u->error);
    if (r < 0)
        fail_msg("%s: %s", text, u->error.text);
}

struct tlog_writer *unit_writer(struct unit *u, struct tlog_partition *p)
{
    struct tlog_writer *writer;
    assert_int_equal(tlog_writer_open(&writer, p), 0);
    return keep(u, 'w', writer);
}

void unit_writer_close(struct unit *u, struct tlog_writer *writer)
{
    unsigned i = 0;
    while (u->refs[i] != writer)
        i++;
    tlog_writer_close(writer);
    u->ref_count--;
    u->refs[i] = u->refs[u->ref_count];
    u->kinds[i] = u->kinds[u->ref_count];
}

static uint32_t count_lines(const char *text, size_t *whole)
{
    uint32_t lines = 0;
    *whole = 0;
    for (const char *newline = text; (newline = strchr(newline, '\n')); newline++, lines++)
        *whole = (size_t)(newline + 1 - text);
    return lines;
}

ssize_t unit_write(struct tlog_writer *writer, const char *text)
{
    size_t whole;
    uint32_t lines = count_lines(text, &whole);
    return tlog_writer_append(writer, text, strlen(text), whole, lines);
}

int unit_append(struct tlog_partition *p, const char *text)
{
    size_t whole;
    uint32_t lines = count_lines(text, &whole);
    return tlog_partition_append(p, text, strlen(text), lines);
}

char *unit_lines_text(unsigned from, unsigned count, unsigned bytes)
{
    char *text = malloc((size_t)count * bytes + 1);
    assert_non_null(text);
    for (unsigned i = 0; i < count; i++) {
        char *line = text + (size_t)i * bytes;
        memset(line, 'x', bytes - 1);
        int n = snprintf(line, bytes, "%u ", from + i);
        line[n] = 'x';
        line[bytes - 1] = '\n';
    }
    text[(size_t)count * bytes] = 0;
    return text;
}

void unit_lines(struct tlog_partition *p, unsigned from, unsigned count, unsigned bytes)
{
    char *text = unit_lines_text(from, count, bytes);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(tlog_partition_append(p, text + (size_t)i * bytes, bytes, 1), 0);
    free(text);
}

struct tlog_bounds unit_bounds(struct tlog_partition *p)
{
    struct tlog_bounds bounds;
    tlog_partition_bounds(p, &bounds);
    return bounds;
}

char *unit_text(struct tlog_partition *p)
{
    struct tlog_bounds bounds = unit_bounds(p);
    size_t bytes = bounds.end - bounds.start;
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    assert_int_equal(tlog_partition_read(p, bounds.start, text, bytes), bytes);
    text[bytes] = 0;
    return text;
}

void unit_assert_text(struct tlog_partition *p, const char *expected)
{
    char *text = unit_text(p);
    assert_string_equal(text, expected);
    free(text);
}

void unit_assert_lines(struct tlog_partition *p, unsigned from, unsigned count, unsigned bytes)
{
    char *expected = unit_lines_text(from, count, bytes);
    unit_assert_text(p, expected);
    free(expected);
}

static int count_entry(void *arg, const struct tlog_entry *entry)
{
    (void)entry;
    ++*(unsigned *)arg;
    return 0;
}

unsigned unit_entries(struct tlog_partition *p)
{
    unsigned count = 0;
    assert_int_equal(tlog_partition_entries(p, count_entry, &count), 0);
    return count;
}

/* ---- files ---- */

static const char *full(struct unit *u, const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", u->path, name);
    return path;
}

bool unit_exists(struct unit *u, const char *name)
{
    struct tlog_io_stat st;
    return u->io->stat_path(u->io, full(u, name), &st) == 0;
}

uint64_t unit_size(struct unit *u, const char *name)
{
    struct tlog_io_stat st;
    assert_int_equal(u->io->stat_path(u->io, full(u, name), &st), 0);
    return st.size_bytes;
}

char *unit_file(struct unit *u, const char *name, size_t *bytes)
{
    char *data;
    int r = tlog_file_read(u->io, full(u, name), &data, bytes);
    if (r < 0)
        fail_msg("%s: %d", name, r);
    return data;
}

static int open_file(struct unit *u, const char *name)
{
    int fd = u->io->open(u->io, full(u, name), TLOG_IO_WRITE | TLOG_IO_CREATE);
    assert_true(fd >= 0);
    return fd;
}

void unit_put(struct unit *u, const char *name, uint64_t foff, const void *data, size_t bytes)
{
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    int fd = open_file(u, name);
    assert_int_equal(u->io->pwritev(u->io, fd, &part, 1, foff), 0);
    assert_int_equal(u->io->sync(u->io, fd), 0);
    u->io->close(u->io, fd);
}

void unit_truncate(struct unit *u, const char *name, uint64_t bytes)
{
    int fd = open_file(u, name);
    assert_int_equal(u->io->truncate(u->io, fd, bytes), 0);
    assert_int_equal(u->io->sync(u->io, fd), 0);
    u->io->close(u->io, fd);
}

void unit_unlink(struct unit *u, const char *name)
{
    assert_int_equal(u->io->unlink(u->io, full(u, name)), 0);
}

void unit_flip(struct unit *u, const char *name, uint64_t foff)
{
    char byte;
    int fd = open_file(u, name);
    assert_int_equal(u->io->pread(u->io, fd, &byte, 1, foff), 1);
    u->io->close(u->io, fd);
    byte ^= 0x10;
    unit_put(u, name, foff, &byte, 1);
}

struct copying {
    struct unit *u;
    const char *from, *to;
};

static int copy_one(void *arg, const char *name)
{
    const struct copying *copying = arg;
    const struct tlog_io *io = copying->u->io;
    char from[2048], to[2048], *data;
    size_t bytes;
    struct tlog_io_stat st;
    snprintf(from, sizeof from, "%s/%s", copying->from, name);
    snprintf(to, sizeof to, "%s/%s", copying->to, name);
    assert_int_equal(io->stat_path(io, from, &st), 0);
    if (st.directory) {
        struct copying below = {copying->u, from, to};
        assert_int_equal(io->mkdir(io, to), 0);
        return io->list(io, from, copy_one, &below);
    }
    assert_int_equal(tlog_file_read(io, from, &data, &bytes), 0);
    assert_int_equal(tlog_file_replace(io, copying->to, name, data, bytes), 0);
    free(data);
    return 0;
}

void unit_copy_store(struct unit *u)
{
    char to[sizeof u->path];
    snprintf(to, sizeof to, "%.90s-copy", u->path);
    struct copying copying = {u, u->path, to};
    assert_int_equal(u->io->mkdir(u->io, to), 0);
    assert_int_equal(u->io->list(u->io, u->path, copy_one, &copying), 0);
    strcpy(u->path, to);
}

struct counting {
    const char *prefix;
    unsigned count;
};

static int count_name(void *arg, const char *name)
{
    struct counting *counting = arg;
    counting->count += strncmp(name, counting->prefix, strlen(counting->prefix)) == 0;
    return 0;
}

unsigned unit_count(struct unit *u, const char *dir, const char *prefix)
{
    struct counting counting = {.prefix = prefix};
    assert_int_equal(u->io->list(u->io, full(u, dir), count_name, &counting), 0);
    return counting.count;
}

/* ---- the gate ---- */

struct unit_gate unit_gate;

static int gate_sync(const struct tlog_io *io, int fd)
{
    struct unit_gate *gate = &unit_gate;
    pthread_mutex_lock(&gate->lock);
    bool waits = !gate->one_thread || pthread_equal(gate->thread, pthread_self());
    gate->inside += waits;
    pthread_cond_broadcast(&gate->changed);
    while (waits && gate->shut)
        pthread_cond_wait(&gate->changed, &gate->lock);
    gate->inside -= waits;
    gate->syncs++;
    bool refuse = gate->refuse_after == 0;
    if (gate->refuse_after != UINT_MAX)
        gate->refuse_after = refuse ? UINT_MAX : gate->refuse_after - 1;
    pthread_mutex_unlock(&gate->lock);
    return refuse ? -EIO : gate->pretend ? 0 : tlog_io_posix.sync(io, fd);
}

static int gate_sync_dir(const struct tlog_io *io, const char *path)
{
    struct unit_gate *gate = &unit_gate;
    pthread_mutex_lock(&gate->lock);
    void (*before)(void *) = gate->before_sync_dir;
    gate->before_sync_dir = NULL;
    pthread_mutex_unlock(&gate->lock);
    if (before)
        before(gate->arg);
    return gate->pretend ? 0 : tlog_io_posix.sync_dir(io, path);
}

void unit_gate_use(struct unit *u)
{
    unit_gate = (struct unit_gate){.io = tlog_io_posix, .refuse_after = UINT_MAX};
    unit_gate.io.sync = gate_sync;
    unit_gate.io.sync_dir = gate_sync_dir;
    pthread_mutex_init(&unit_gate.lock, NULL);
    pthread_cond_init(&unit_gate.changed, NULL);
    u->options.io = &unit_gate.io;
}

void unit_gate_shut(bool shut)
{
    pthread_mutex_lock(&unit_gate.lock);
    unit_gate.shut = shut;
    pthread_cond_broadcast(&unit_gate.changed);
    pthread_mutex_unlock(&unit_gate.lock);
}

void unit_gate_wait(unsigned inside)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&unit_gate.lock);
    int r = 0;
    while (r == 0 && unit_gate.inside < inside)
        r = pthread_cond_timedwait(&unit_gate.changed, &unit_gate.lock, &until);
    pthread_mutex_unlock(&unit_gate.lock);
    assert_int_equal(r, 0);
}

void unit_wait(bool (*condition)(void *arg), void *arg)
{
    for (int i = 0; i < 10000; i++) {
        if (condition(arg))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("it has not come about within its time");
}

/* ---- verification ---- */

static void damaged(void *arg, const char *line)
{
    char *sentences = arg;
    strcat(sentences, line);
    strcat(sentences, "\n");
}

const char *unit_verify(struct unit *u)
{
    static char sentences[8192];
    struct tlog_options options = {.io = u->disk ? u->io : NULL, .read_only = true};
    sentences[0] = 0;
    int r = tlog_verify_with(&options, u->path, NULL, damaged, NULL, sentences, &unit_verified, &u->error);
    if (r < 0)
        fail_msg("verifying: %s (%d)", u->error.text, r);
    return sentences;
}

/* ---- what the disk was before each operation ---- */

static void clone_it(void *arg, enum sim_kind kind, const char *path)
{
    struct unit_clones *clones = arg;
    (void)kind;
    (void)path;
    assert_true(clones->count < UNIT_CLONES);
    clones->points[clones->count++] = simdisk_clone(clones->source);
}

void unit_clone_on(struct unit *u, struct unit_clones *clones)
{
    *clones = (struct unit_clones){.source = u->disk};
    simdisk_hook(u->disk, clone_it, clones);
}

void unit_clone_off(struct unit *u)
{
    simdisk_hook(u->disk, NULL, NULL);
}
