// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lab's messenger: runs COMMAND and tells the outside what it does.
 *
 * One I/O port, 0xe9, which QEMU and Bochs both hand through byte by byte,
 * carries everything.  It is grouped into frames
 *
 *	0x1e  type  length (two bytes, low first)  payload
 *
 * of type 'r' (the lab is up, COMMAND starts), 'o' and 'e' (its standard output
 * and error), 'k' (a record of the kernel log) and 'x' (exit status, last).
 * A payload's length is known before it is read: nothing that COMMAND prints
 * can be taken for a frame.
 *
 * Bochs mixes the port's bytes with what it draws on its own terminal, which is
 * 7-bit.  So every byte sent has bit 7 set: 0x00..0x7d go as they are but for
 * that bit, the others as two, 0xfe (or 0xff for bit 7 set) and the low bits.
 *
 * usage: lab-exec [-i] ARGV	file ARGV holds COMMAND's words, each ended by NUL;
 *				-i: COMMAND has the serial console for itself
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/io.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT	0xe9
#define MAX	16384

enum { OUT, ERR, KMSG, CHILD, NR };

static const char types[] = "oek";

static unsigned char *encode(unsigned char *to, const unsigned char *from, size_t len)
{
	while (len--) {
		if (*from >= 0x7e)
			*to++ = 0xfe | *from >> 7;
		*to++ = 0x80 | *from++;
	}
	return to;
}

static void send(char type, const void *payload, size_t len)
{
	const unsigned char head[] = { 0x1e, type, len & 0xff, len >> 8 };
	static unsigned char buf[2 * (sizeof(head) + MAX)];
	unsigned char *end;

	end = encode(buf, head, sizeof(head));
	end = encode(end, payload, len);
	outsb(PORT, buf, end - buf);
}

/* Passes on what fd has: 1 there was some, 0 nothing now, -1 nothing any more. */
static int pass(char type, int fd)
{
	static char buf[MAX];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n > 0)
		send(type, buf, n);
	if (n < 0 && errno == EPIPE)	/* /dev/kmsg: records lost, go on */
		return 1;
	return n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static char **words(const char *path)
{
	static char buf[131072], *argv[4096];
	int fd = open(path, O_RDONLY), n = 0;
	ssize_t len = read(fd, buf, sizeof(buf) - 1);

	for (char *p = buf; p < buf + len && n < 4095; p += strlen(p) + 1)
		argv[n++] = p;
	close(fd);
	return argv;
}

static void run(char **argv, int out, int err)
{
	setsid();
	if (out < 0) {
		out = open("/dev/ttyS0", O_RDWR);
		err = out;
		ioctl(out, TIOCSCTTY, 1);
	}
	dup2(out == err ? out : open("/dev/null", O_RDONLY), 0);
	dup2(out, 1);
	dup2(err, 2);
	execvp(argv[0], argv);
	if (errno == ENOENT)
		dprintf(2, "lab: %s: not found inside the lab%s\n", argv[0],
			" (bring a program with --add FILE, call it ./FILE)");
	else
		dprintf(2, "lab: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static int wakeup[2];

static void on_sigchld(int sig)
{
	if (write(wakeup[1], &sig, 1) < 0)
		return;	/* full: it will wake up anyway */
}

/* Orphans of COMMAND end up here as well. */
static int reap(pid_t command)
{
	int st, status = -1;
	pid_t pid;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
		if (pid == command)
			status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
	}
	return status;
}

int main(int argc, char **argv)
{
	int interactive = argc == 3 && !strcmp(argv[1], "-i");
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, status = -1;
	struct pollfd fds[NR];
	char code;
	pid_t pid;

	if (argc != 2 + interactive || iopl(3) || pipe2(wakeup, O_CLOEXEC | O_NONBLOCK) ||
	    (!interactive && (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)))) {
		fprintf(stderr, "lab-exec: works as root inside a lab only\n");
		return 1;
	}
	signal(SIGCHLD, on_sigchld);

	fds[OUT].fd = out[0];
	fds[ERR].fd = err[0];
	fds[KMSG].fd = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
	fds[CHILD].fd = wakeup[0];
	for (int i = 0; i < NR; i++) {
		fds[i].events = POLLIN;
		fcntl(fds[i].fd, F_SETFL, O_NONBLOCK);
	}

	/* Reports from here on are COMMAND's; emergency level: on the console too. */
	dprintf(open("/dev/kmsg", O_WRONLY | O_CLOEXEC), "<0>lab: COMMAND starts\n");
	send('r', "", 0);
	pid = fork();
	if (!pid)
		run(words(argv[argc - 1]), out[1], err[1]);
	close(out[1]);
	close(err[1]);

	while (status < 0) {
		poll(fds, NR, -1);
		for (int i = 0; i < CHILD; i++) {
			if (fds[i].revents && pass(types[i], fds[i].fd) < 0)
				fds[i].fd = -1;
		}
		if (fds[CHILD].revents) {
			char sigs[64];

			if (read(fds[CHILD].fd, sigs, sizeof(sigs)) > 0)
				status = reap(pid);
		}
	}

	/* What is in the pipes still, even if others hold them open. */
	for (int i = 0; i < CHILD; i++) {
		while (fds[i].fd >= 0 && pass(types[i], fds[i].fd) > 0)
			;
	}
	code = status;
	send('x', &code, 1);
	for (;;)
		pause();
}
