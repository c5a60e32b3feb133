/* What the daemon says to people: on stderr as `topicfs: ...` until it has gone into the background, through
 * syslog from then on. Any thread. Lower case, no full stop, no newline. */
#ifndef TFS_LOG_H
#define TFS_LOG_H

void tfs_say(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* From now on by syslog; also what libfuse itself says. */
void tfs_say_by_syslog(void);

#endif
