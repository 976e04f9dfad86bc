"""A survey: three questions, each answered with a key from 1 to 5, and thanks.

Each answer is set as soon as it is given, so that it counts even when the caller hangs up before the end: a hangup
handler (`CHANNEL(hangup_handler_push)`) sees SURVEY_FRIENDLY, SURVEY_QUICK, SURVEY_AGAIN and SURVEY_ANSWERED.
"""

from __future__ import annotations

from ivrd import Call

# The channel variable and the prompts of each question. Record your own: these say "number one" and beep.
QUESTIONS = {
    "SURVEY_FRIENDLY": ["number", "digits/1", "beep"],
    "SURVEY_QUICK": ["number", "digits/2", "beep"],
    "SURVEY_AGAIN": ["number", "digits/3", "beep"],
}


async def main(call: Call) -> None:
    answered = 0
    for variable, prompts in QUESTIONS.items():
        # A key that was pressed during the question before is no answer to this one.
        answer = await call.menu(prompts, "12345", retries=1, timeout=4, invalid="pm-invalid-option", type_ahead=False)
        if answer is None:
            continue  # not everybody has an opinion
        answered += 1
        await call.set(**{variable: answer, "SURVEY_ANSWERED": str(answered)})

    await call.play("auth-thankyou")
    await call.log(f"survey: {answered} of {len(QUESTIONS)} questions answered")
