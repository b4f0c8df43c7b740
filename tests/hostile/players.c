/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each user is a process that plays one attack after the other: each once at
 * first, in an order of the seed's, and then what the seed says.
 */
#include "hostile.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "../random.h"

#define FIRST_MS 50
/* Long enough for one that is to have all there is, see footprint. */
#define FULL_MS 5000
#define RANDOM_MS 600
/* Behind its time: an end takes that long where CPU is short. */
#define GRACE_MS 6000
#define PROCESSES_MAX 4

static const char *const channels[] = { "all", "live", "moving", "frames",
					"short" };

static pid_t players[USERS_MAX];

/* ------------------------------------------------------------ one attack */

struct cast {
	const struct attack *attack;
	struct play *play;
	pid_t pids[PROCESSES_MAX];
	unsigned stopped;
	unsigned left;
	int worst; /* status */
};

static void note_status(struct cast *cast, int status)
{
	int result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		result = -SIGKILL;
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fprintf(stderr, "%s: an attacker died of signal %d\n",
			cast->attack->name, WTERMSIG(status));
	if (result != 0 && cast->worst != 1)
		cast->worst = result;
}

static void look_at(struct cast *cast)
{
	int status;

	for (unsigned i = 0; i < cast->attack->processes; i++) {
		if (cast->pids[i] <= 0 ||
		    waitpid(cast->pids[i], &status, WNOHANG | WUNTRACED) !=
			    cast->pids[i])
			continue;
		if (WIFSTOPPED(status)) {
			cast->stopped++;
			continue;
		}
		kill(-cast->pids[i], SIGKILL); /* what it has left behind */
		note_status(cast, status);
		cast->pids[i] = 0;
		cast->left--;
	}
}

static void kill_all(struct cast *cast)
{
	for (unsigned i = 0; i < cast->attack->processes; i++)
		if (cast->pids[i] > 0) {
			kill(-cast->pids[i], SIGKILL);
			kill(cast->pids[i], SIGKILL);
		}
	while (cast->left > 0) {
		look_at(cast);
		sleep_ms(1);
	}
}

static void add(uint64_t *word, uint64_t n)
{
	__atomic_add_fetch(word, n, __ATOMIC_RELAXED);
}

static void note_result(const struct cast *cast)
{
	struct tally *tally = &world->tallies[cast->attack - attacks];

	add(&tally->played, 1);
	add(&tally->rounds, cast->play->rounds);
	add(&world->offences, cast->play->offences);
	if (cast->worst == ATTACK_REFUSED)
		add(&tally->refused, 1);
	else if (cast->worst == -SIGKILL)
		add(&tally->killed, 1);
	else if (cast->worst)
		add(&tally->broken, 1);
}

/* Those that have stopped themselves would go on for ever. */
static bool is_over(const struct cast *cast, uint64_t now)
{
	uint64_t end = cast->play->end_ns;

	if (cast->left == 0 || (cast->left <= cast->stopped && now >= end))
		return true;
	return now >= end + GRACE_MS * UINT64_C(1000000);
}

static void play_it(const struct attack *attack, struct play *play, uid_t uid)
{
	struct cast cast = { attack, play, { 0 }, 0, attack->processes, 0 };

	if (attack->role == ROLE_ENGINE)
		uid = process_uid(play->engine);
	for (unsigned i = 0; i < attack->processes; i++)
		cast.pids[i] = attack_start(uid, attack->body, play);
	do {
		sleep_ms(1);
		look_at(&cast);
	} while (!is_over(&cast, scene_now_ns()));
	kill_all(&cast);
	note_result(&cast);
}

/* ---------------------------------------------------------------- a user */

static void stage_enter(struct stage *stage, uint32_t attack)
{
	__atomic_store_n(&stage->previous, stage->attack, __ATOMIC_RELAXED);
	__atomic_store_n(&stage->previous_end_ns, scene_now_ns(),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&stage->attack, attack, __ATOMIC_RELAXED);
	__atomic_store_n(&stage->start_ns, scene_now_ns(), __ATOMIC_RELAXED);
}

static void play_one(unsigned user, uint32_t number, uint64_t ms,
		     struct play *play)
{
	const struct attack *attack = &attacks[number];

	memset(play, 0, sizeof(*play));
	play->channel = attack->channel ? attack->channel : channels[below(5)];
	play->engine = scene.engine;
	play->warden = scene.broker.pid;
	play->ms = ms;
	play->seed = below(UINT32_MAX);
	play->count = UINT64_MAX;
	play->has_company = true;
	play->is_idle = chance(75);
	stage_enter(&world->stages[user], number);
	play_it(attack, play, FIRST_UID + user);
	stage_enter(&world->stages[user], ATTACKS_MAX);
}

static void wait_for(unsigned round)
{
	while (__atomic_load_n(&world->must_attack, __ATOMIC_ACQUIRE) < round)
		sleep_ms(1);
}

static bool is_now(unsigned round)
{
	return __atomic_load_n(&world->must_attack, __ATOMIC_ACQUIRE) == round;
}

static bool is_wanted(uint32_t attack)
{
	return world->only == ATTACKS_MAX || world->only == attack;
}

static void play_each_once(unsigned user, struct play *play)
{
	uint32_t order[ATTACKS_MAX];

	for (uint32_t i = 0; i < attack_count; i++)
		order[i] = i;
	for (uint32_t i = attack_count; i > 0; i--) {
		uint32_t n = below(i), last = order[i - 1];

		if (is_wanted(order[n]))
			play_one(user, order[n],
				 attacks[order[n]].body == take_all_there_is ?
					 FULL_MS :
					 FIRST_MS,
				 play);
		order[n] = last;
	}
}

static void is_done(unsigned user, unsigned round)
{
	__atomic_store_n(&world->done[user], round, __ATOMIC_RELEASE);
}

static int be_user(void *data)
{
	unsigned user = *(unsigned *)data;
	struct play *play = shared_memory(sizeof(*play));

	random_seed(world->seed * USERS_MAX + user);
	for (int i = 0; i < 8; i++)
		below(2);
	wait_for(ROUND_FIRST);
	play_each_once(user, play);
	is_done(user, ROUND_FIRST);
	wait_for(ROUND_RANDOM);
	while (is_now(ROUND_RANDOM))
		play_one(user,
			 world->only < attack_count ? world->only :
						      below(attack_count),
			 1 + below(RANDOM_MS), play);
	is_done(user, ROUND_RANDOM);
	return 0;
}

void players_start(void)
{
	cr_assert_leq(attack_count, ATTACKS_MAX);
	for (unsigned user = 0; user < world->users; user++) {
		world->stages[user].attack = ATTACKS_MAX;
		world->stages[user].previous = ATTACKS_MAX;
		players[user] = child_start(0, be_user, &user);
	}
}

void players_begin(unsigned round)
{
	__atomic_store_n(&world->must_attack, round, __ATOMIC_RELEASE);
}

bool players_are_done(unsigned round)
{
	for (unsigned user = 0; user < world->users; user++)
		if (__atomic_load_n(&world->done[user], __ATOMIC_ACQUIRE) <
		    round)
			return false;
	return true;
}

void players_end(void)
{
	for (unsigned user = 0; user < world->users; user++)
		cr_assert_eq(child_wait(players[user]), 0);
}
