/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whom the engine runs as: nobody else, as the kernel lets one process of a
 * user look into another.
 */
#include <criterion/criterion.h>

#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "live.h"

#define FIRST 64700u /* as README says */
#define LAST 64999u
#define NAME "games" /* whom Debian has, and who does nothing */

static struct network network;
static struct broker broker;
static struct command command;

static void prepare(void)
{
	network_make(&network);
	network_enter(&network);
	if (getpwnam("netring"))
		cr_skip_test("the user netring is there, and it is taken");
}

TestSuite(user, .init = prepare, .timeout = 60);

/* A process with uids as asked for; killed by the test, or with it. */
struct guise {
	uid_t real, effective, saved;
	volatile sig_atomic_t is_on;
	pid_t pid;
};

static int wear(void *data)
{
	struct guise *guise = data;

	if (setresuid(guise->real, guise->effective, guise->saved) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL))
		return 1;
	guise->is_on = 1;
	pause();
	return 0;
}

static struct guise *guise_start(uid_t real, uid_t effective, uid_t saved)
{
	struct guise *guise = shared_memory(sizeof(*guise));

	guise->real = real;
	guise->effective = effective;
	guise->saved = saved;
	guise->pid = child_start(0, wear, guise);
	eventually(guise->is_on);
	return guise;
}

static void guise_end(const struct guise *guise)
{
	kill(guise->pid, SIGKILL);
	cr_assert_eq(child_wait(guise->pid), 256 + SIGKILL);
}

static uid_t uid_of_engine(const char *what)
{
	return (uid_t)process_status(broker_engine(&broker), what, 10);
}

static void start(void)
{
	broker_start_args(&broker, network.netns, "-i", "inside", NULL);
}

Test(user, of_an_engine_is_one_without_a_name_or_a_process)
{
	struct guise *guises[3];
	uid_t uid;

	start();
	uid = uid_of_engine("Uid:");
	cr_assert(uid >= FIRST && uid <= LAST, "%u", uid);
	cr_assert_eq(uid_of_engine("Gid:"), uid);
	cr_assert_null(getpwuid(uid));
	broker_stop(&broker);
	/* The least are tried first. In any way that one can be a user. */
	guises[0] = guise_start(FIRST, 0, 0);
	guises[1] = guise_start(0, FIRST + 1, 0);
	guises[2] = guise_start(0, 0, FIRST + 2);
	start();
	uid = uid_of_engine("Uid:");
	cr_assert(uid > FIRST + 2 && uid <= LAST, "%u", uid);
	broker_stop(&broker);
	for (unsigned i = 0; i < 3; i++)
		guise_end(guises[i]);
}

/* A /proc where each of them is in use. */
static void write_processes(void)
{
	for (uid_t uid = FIRST; uid <= LAST; uid += 3) {
		char path[128];
		FILE *file;

		snprintf(path, sizeof(path), "%s/%u", test_path("proc"), uid);
		cr_assert_eq(mkdir(path, 0755), 0);
		strcat(path, "/status");
		file = fopen(path, "we");
		cr_assert(file);
		fprintf(file, "Name:\tx\nUid:\t%u\t%u\t%u\t0\n", uid, uid + 1,
			uid + 2);
		fclose(file);
	}
}

/* Where @proc is what it sees of all processes. */
static void check_ends(const char *proc, const char *words)
{
	cr_assert_eq(
		command_run(&command,
			    /* In that /proc no sanitizer finds its options, nor
			     * where to look for leaks. */
			    "unshare -m sh -c 'mount --bind %s /proc && "
			    "timeout 10 netringd -i inside --socket %s 2>%s; "
			    "status=$?; grep -v Sanitizer %s >&2; "
			    "exit $status'",
			    proc, test_path("broker.sock"), test_path("said"),
			    test_path("said")),
		1);
	cr_assert(strstr(command.err, words), "%s", command.err);
	cr_assert_neq(access(test_path("broker.sock"), F_OK), 0);
}

Test(user, that_is_free_has_to_be_there)
{
	cr_assert_eq(mkdir(test_path("proc"), 0755), 0);
	write_processes();
	check_ends(test_path("proc"), "no free uid from 64700 to 64999");
}

Test(user, that_nobody_can_say_is_free_is_not_taken)
{
	/* A process that can be seen, and that cannot be read of. */
	cr_assert_eq(command_run(&command, "mkdir -p %s/1/status",
				 test_path("proc")),
		     0);
	check_ends(test_path("proc"),
		   "cannot reserve a uid for the engine: /proc: Is a "
		   "directory");
}

static void start_as(const char *name)
{
	broker_start(&broker, network.netns,
		     "user = %s\n"
		     "[source lan]\ninterface = inside\n"
		     "[channel lan]\nsource = lan\n",
		     name);
}

static void check_refused(const char *name, int status, const char *words)
{
	network_run(&network, "sed -i 's/^user = .*/user = %s/' %s.conf", name,
		    broker.socket);
	cr_assert_eq(command_run(&command, "timeout 10 netringd -c %s.conf",
				 broker.socket),
		     status, "%d: %s", command.status, command.err);
	cr_assert(strstr(command.err, words), "%s", command.err);
}

Test(user, that_is_configured_is_refused_while_it_has_a_process)
{
	const struct passwd *user = getpwnam(NAME);
	uid_t uid;
	struct guise *guise;

	if (!user)
		cr_skip_test("needs a user " NAME);
	uid = user->pw_uid;
	start_as(NAME);
	cr_assert_eq(uid_of_engine("Uid:"), uid);
	broker_stop(&broker);
	guise = guise_start(0, 0, uid);
	check_refused(NAME, 1, "user '" NAME "' is in use by a process");
	guise_end(guise);
	check_refused("root", 2, "the engine must not be root");
	check_refused("no-such-user", 2, "there is no such user");
}
