/* What the daemon says to people: on stderr as `topicfs: ...` until it has gone into the background, through
 * syslog from then on. Any thread. Lower case, no full stop, no newline. */
#ifndef TFS_LOG_H
#define TFS_LOG_H

void tfs_say(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What libfuse itself says goes the same way from now on; to be called first. */
void tfs_say_for_libfuse(void);
/* From now on by syslog. */
void tfs_say_by_syslog(void);

#endif
