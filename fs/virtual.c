#include "virtual.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "daemon.h"
#include "log.h"
#include "status.h"

/* More than a stdio buffer's worth without a newline at its end is a piece of something longer. */
enum { PIECE_BYTES = 4096, MAX_CONFIG_BYTES = 1 << 20 };

static const char *const names[] = {[TFS_CONFIG] = ".config", [TFS_OFFSETS] = ".offsets", [TFS_STATUS] = ".status"};

bool tfs_virtual_named(const char *name, enum tfs_kind directory, enum tfs_virtual *which)
{
    for (int i = TFS_CONFIG; i <= TFS_STATUS; i++)
        if (strcmp(name, names[i]) == 0) {
            *which = (enum tfs_virtual)i;
            return i != TFS_OFFSETS || directory == TFS_TOPIC;
        }
    return false;
}

unsigned tfs_virtual_mode(enum tfs_virtual which, unsigned directory_mode)
{
    return directory_mode & (which == TFS_CONFIG ? 0666u : 0444u);
}

static int config_text(struct tfs *fs, const struct tfs_node *node, char **out)
{
    return node->topic != NULL ? tlog_topic_config_text(node->topic, out) : tlog_store_config_text(fs->store, out);
}

int tfs_virtual_make(struct tfs *fs, const struct tfs_node *node, char **out, size_t *bytes)
{
    if (node->virtual == TFS_CONFIG) {
        int result = config_text(fs, node, out);
        *bytes = result == 0 ? strlen(*out) : 0;
        return result;
    }

    FILE *to = open_memstream(out, bytes);
    if (to == NULL)
        return -ENOMEM;
    if (node->virtual == TFS_OFFSETS)
        tfs_offsets_topic(node->topic, to);
    else if (node->topic != NULL)
        tfs_status_topic(node->topic, to);
    else
        tfs_status_store(fs, to);
    bool failed = ferror(to);
    if (fclose(to) != 0 || failed) {
        free(*out);
        return -ENOMEM;
    }
    return 0;
}

int tfs_text_open(struct tfs *fs, const struct tfs_node *node, int flags, struct tfs_text **out)
{
    struct tfs_text *text = calloc(1, sizeof *text);
    int result = text != NULL ? tfs_virtual_make(fs, node, &text->shown, &text->shown_bytes) : -ENOMEM;

    if (result != 0) {
        free(text);
        return result;
    }
    text->replace = (flags & O_TRUNC) != 0;
    *out = text;
    return 0;
}

void tfs_text_free(struct tfs_text *text)
{
    if (text == NULL)
        return;
    free(text->shown);
    free(text->written);
    free(text);
}

/* Without O_APPEND: at the start, which means the whole, or at the end, and then on from there. */
static bool place(struct tfs_text *text, uint64_t offset, int flags)
{
    if (flags & O_APPEND)
        return true;
    if (text->begun)
        return offset == text->next_offset;
    if (offset == 0)
        text->replace = true;
    return offset == 0 || offset == text->shown_bytes;
}

/* What of the text so far must make sense by itself. */
static bool acceptable(char *written, size_t bytes, size_t last_write_bytes)
{
    struct tlog_error error = {"a NUL byte"};
    char *end = written + bytes, *newline;

    if (last_write_bytes >= PIECE_BYTES && bytes > 0 && end[-1] != '\n') {
        newline = memrchr(written, '\n', bytes);
        end = newline != NULL ? newline + 1 : written;
    }
    char kept = *end;
    *end = '\0';
    bool good = strlen(written) == (size_t)(end - written) && tlog_config_check(written, &error) == 0;
    *end = kept;
    if (!good)
        tfs_say(LOG_NOTICE, ".config: refused: %s", error.text);
    return good;
}

ssize_t tfs_text_write(struct tfs_text *text, const char *data, size_t bytes, uint64_t offset, int flags)
{
    if (!place(text, offset, flags))
        return -EPERM;
    text->begun = true;
    text->next_offset = offset;
    if (text->refused)
        return -EINVAL;
    if (text->written_bytes + bytes > MAX_CONFIG_BYTES)
        return -EFBIG;

    char *grown = realloc(text->written, text->written_bytes + bytes + 1);
    if (grown == NULL)
        return -ENOMEM;
    text->written = grown;
    memcpy(grown + text->written_bytes, data, bytes);
    grown[text->written_bytes + bytes] = '\0';
    if (!acceptable(grown, text->written_bytes + bytes, bytes)) {
        grown[text->written_bytes] = '\0';
        text->refused = true;
        return -EINVAL;
    }
    text->written_bytes += bytes;
    text->next_offset = offset + bytes;
    return (ssize_t)bytes;
}

int tfs_text_flush(struct tfs *fs, const struct tfs_node *node, struct tfs_text *text)
{
    struct tlog_error error = {""};
    int result = 0;

    if (text->refused) {
        text->refused = false;
        text->written_bytes = text->applied_bytes;
        if (text->written != NULL)
            text->written[text->written_bytes] = '\0';
    }
    if (text->written_bytes == text->applied_bytes)
        return 0;
    const char *lines = text->written + (text->replace ? 0 : text->applied_bytes);
    if (node->topic != NULL)
        result = tlog_topic_config_set(node->topic, lines, text->replace, &error);
    else
        result = tlog_store_config_set(fs->store, lines, text->replace, &error);
    if (result == 0)
        text->applied_bytes = text->written_bytes;
    else
        tfs_say(LOG_WARNING, ".config: %s", error.text[0] != '\0' ? error.text : strerror(-result));
    return result;
}
