"""Units, per cent, angles, ratios and times of day: answers (parted by ` ; `) that are a reference or not."""

from __future__ import annotations

import pytest

from tests.unit.harness.grading.tables import boxed, cases

RIGHT = {
    "25 cm": "20 + 5 = 25 cm",
    "1/2": (
        r"50 % ; 50\% ; 50% ; 0.5 ; \frac12 = 50\% ; 50\% = \frac12 ; 50 percent ; "
        r"50 \text{ percent} ; x = 50\% ; 50\,\% ; \text{50\%} ; 50% of the total ; 50.0% ; "
        r"50 per cent ; P = \frac12 = 50\%"
    ),
    "0.5": r"50% ; 50\% ; .5 ; 1/2 ; 0.50 ; 0.500",
    "0.25": r"25\%",
    "3/4": r"75\%",
    r"\frac{1}{3}": r"33\frac{1}{3}\% ; \frac{100}{3}\%",
    r"25\%": "25 ; 25% ; 25 percent",
    r"0.5\%": r"0.5% ; \frac{1}{2}\% ; 0.5",
    r"237.5\%": "237.5 ; 237.5%",
    "42.1875": r"42.1875\%",
    r"\frac{100}{3}": r"\frac{100}{3}\% ; 33\frac13\%",
    "3/2": r"150\%",
    r"0.56 = 56\%": r"56% ; 0.56 ; 56\%",
    "-1/2": r"-50\%",
    "5:30": r"5:30 ; 5 : 30 ; 5\!:\!30 ; \text{5:30}",
    "3:4": "3:4 ; 3 : 4",
    "9:24": "9:24",
    r"05\!:\!00": "05:00",
    "4:30 p.m.": r"4:30 PM ; 4:30pm ; 4\!:\!30 \text{ p.m.}",
    r"\text{1:03 PM}": "1:03 p.m.",
    r"4\!:\!51\!:\!06 \text{ p.m.}": "4:51:06 p.m. ; 4:51:06 PM",
    r"9\text{ a.m.}": "9 a.m. ; 9 am",
    "5 m": r"5 ; 5 m ; 5 meters ; 5\text{ metres} ; 5\,\mathrm{m} ; 5m",
    "5 kg": r"5 kilograms ; 5 ; 5 kilos ; 5\mathrm{kg} ; 5 kgs",
    "5 hours": "5 hrs ; 5 h ; 5 hr ; 5",
    r"15\mbox{ cm}^2": (
        r"15 \text{ cm}^2 ; 15 square centimeters ; 15 sq cm ; 15 ; 15 cm² ; "
        r"15\text{ square cm} ; 15\,\mathrm{cm}^{2}"
    ),
    r"864 \mbox{ inches}^2": r"864 square inches ; 864 in^2 ; 864 \text{ in}^2 ; 864 sq in ; 864",
    r"\approx 8.24 \text{ mph}": "8.24 mph ; 8.24 miles per hour ; 8.24 ; 8.24 mi/h",
    "45 km/h": r"45 kph ; 45 km per hour ; 45 kilometers per hour ; 45 \text{ km/h} ; 45 km/hr",
    r"80\text{ cents}": "80 ; 80 cents ; 80¢",
    r"3.25\text{ dollars}": r"3.25 ; $3.25 ; \$3.25 ; 3.25 dollars",
    r"\$6": "6 ; $6 ; 6 dollars ; 6.00",
    r"30^\circ": (
        r"30 ; 30 degrees ; 30° ; \pi/6 ; \frac{\pi}{6} ; \arcsin(1/2)=30^\circ ; "
        r"\arcsin(1/2) = \frac{\pi}{6} = 30^\circ ; \sin^{-1}(1/2)=30^\circ ; \theta = 30^\circ"
    ),
    r"\frac{\pi}{6}": (
        r"30^\circ ; 30 degrees ; 30° ; \arcsin(1/2)=30^\circ ; \arcsin(\frac12)=\frac{\pi}{6} ; "
        r"\arctan\frac{1}{\sqrt3}=30^\circ ; \arcsin(1/2) ; \pi/6 = 30^\circ ; "
        r"30^\circ=\frac{\pi}{6} ; \pi/6 \text{ radians} ; \arcsin(1/2)=30°"
    ),
    r"140\text{ degrees}": r"140 ; 140^\circ ; \frac{7\pi}{9}",
    r"\frac{\pi}{4}": r"45^\circ ; \arctan 1 = 45^\circ ; \arctan(1) = \pi/4",
    "45": r"\arctan 1 = 45^\circ ; 45^\circ",
    r"2\pi": r"360^\circ ; 360 degrees ; 2\pi \text{ rad}",
    r"12 \text{ gm}": "12 g ; 12 grams ; 12",
    "120 cm": "120 ; 120 cm",
    "2 hours": "2 h ; 2",
    r"144 \mbox{ m}^3": "144 cubic meters ; 144 m^3 ; 144",
    r"12\sqrt{13}\text{ feet}": r"12\sqrt{13} ; 12\sqrt{13} \text{ ft}",
    r"99\pi \text{ square inches}": r"99\pi ; 99\pi \text{ in}^2",
    r"7 \text{ days}": "7 ; 7 days ; 7 days long",
    "54 gallons": "54 ; 54 gal",
    r"20 \text{ miles}": "20 mi ; 20 ; 20 mile",
    "18 apples": "18 ; 18 pieces of fruit",
    "16 years": "16 years old ; 16",
    r"\text{Sunday}": "sunday ; Sunday",
    "0.05": "5% ; 5 percent",
    "1": r"100% ; \sin 90^\circ ; \sin 90^\circ = 1 ; \tan 45^\circ = 1",
    r"\frac{2}{3}": r"66\frac23\% ; 66.\overline{6}\%",
    "-25%": "-25 ; -25%",
    r"12.5\%": r"12\frac12\% ; 12.5",
    "5 km": "5 kilometers ; 5 km away",
    "1 hour": "1 hr",
    "3 feet": r"3 ft ; 3 \text{ ft}",
    r"\$2.50": "2.5 dollars ; $2.50 ; 2.50 ; 2.5",
    "2500 cm^2": "2500",
    "90 km/h": "90 km per hour ; 90",
    "10 cm long": "10 cm ; 10",
    "7 years": "7 years old",
    "18": (
        "18 eggs ; 18 dollars ; 18 cm ; 18 m^2 ; 18 people ; 18 kg of rice ; $18 per day ; "
        "18° ; 18 units ; 18 mph ; 18 cups"
    ),
    "18 eggs": "18 ; 18 chicken eggs ; 18 pieces",
    "20 students": "20 people ; 20",
    "16 square units": r"16 ; 16 units^2 ; 16 \text{ sq. units} ; 16 cm^2",
    "8 dozen": "96",
    "3 pounds": "3 lb ; 3 lbs",
    "12 in": "12 inches ; 12",
    "5 m/s": r"5 meters per second ; 5\,\mathrm{m/s}",
    r"9.8 \text{ m/s}^2": "9.8 ; 9.8 m/s^2 ; 9.8 m/s²",
    "5 dollars per hour": "$5 per hour ; 5",
    "30 minutes": "30 min",
    "200 mL": "200 ml ; 200 milliliters ; 200",
    "5 degrees Celsius": "5 ; 5 °C",
    "72 degrees": r"72^\circ ; 72",
    "24 in total": "24 ; 24 in all",
    "100 m^2": r"100 square meters ; 100 sq m ; 100\text{ m}^2 ; 100 m² ; 100",
    r"36\pi \text{ cm}^3": r"36\pi ; 36\pi \text{ cm}^{3} ; 36\pi\text{ cubic centimeters} ; 36\pi cm^3",
    "3 quarters": "3 quarters",
    r"\frac{\pi}{3}": (
        r"60^\circ ; \arccos(1/2) = 60^\circ ; \arccos\frac12=\frac\pi3 ; "
        r"\cos^{-1}(1/2) = 60^\circ ; \frac{\pi}{3} = 60^\circ ; 60^\circ = \pi/3 ; "
        r"60 \text{ degrees} ; \frac{\pi}{3} \text{ rad} ; 60^{\circ} ; 60\degree ; "
        r"\theta = 60^\circ = \frac{\pi}{3} ; \arctan\sqrt3 = 60^\circ ; \theta = 60^\circ"
    ),
    r"60^\circ": (
        r"\frac{\pi}{3} ; \arccos(1/2)=60^\circ ; \angle A = 60^\circ ; "
        r"\theta = \arctan(\sqrt{3}) = 60^\circ ; 60 ; \pi/3 = 60^\circ"
    ),
    r"\frac{\pi}{6}, \frac{5\pi}{6}": r"30^\circ, 150^\circ ; \frac{5\pi}{6}, \frac{\pi}{6}",
    r"30^\circ, 150^\circ": r"\frac{\pi}{6}, \frac{5\pi}{6} ; 30, 150 ; 150, 30",
    r"\sqrt{3}": r"\tan 60^\circ ; \tan\frac{\pi}{3} ; \tan 60^\circ = \sqrt{3} ; 2\sin 60^\circ",
    r"-90^\circ": r"-90 ; -\frac{\pi}{2} ; \arcsin(-1) = -90^\circ",
}
WRONG = {
    "25 cm": "24 cm = 25 cm ; 24 cm = 250 mm ; x = 24 cm = 250 mm",
    "1/2": (
        r"0.5 % ; 0.5\% ; 0.5% ; \frac{1}{2}\% ; 1/2 % ; 0.5 percent ; 5% ; "
        r"0.5 \text{ per cent} ; x = 0.5\% ; \text{0.5\%} ; 0.5\,\% ; \approx 0.5\% ; "
        r"0.5% of the total ; half a percent ; 1/2 of 1% ; 0.5 %. ; \frac12 \text{ percent} ; "
        r"\frac12 \% ; 0.50%"
    ),
    "0.5": r"0.5% ; 0.5\% ; 5% ; 0.05 ; 5 ; .05 ; 0.5.5 ; 0.51 ; 0..5 ; 0.5?5",
    "0.25": r"0.25\%",
    "3/4": r"0.75\% ; 7.5\%",
    r"\frac{1}{3}": r"33\% ; \frac13\% ; 33.3\%",
    r"25\%": "0.25% ; 2500%",
    r"0.5\%": "50% ; 5%",
    r"237.5\%": "2.375%",
    r"0.56 = 56\%": "0.56% ; 5.6%",
    "-1/2": r"-0.5\%",
    "5:30": r"10:60 ; 1:6 ; 15:90 ; 1/6 ; 6 ; 5:31 ; 5:30:01 ; 5:03 ; 30:5 ; \frac16 ; 5.5 ; 530",
    "3:4": "4:3 ; 3:5 ; 3:4:5 ; 4/3 ; 34",
    "19:60": "20:60 ; 60:19",
    "9:24": "3:8 ; 18:48 ; 9:42 ; 3/8",
    r"05\!:\!00": "5:01 ; 17:00 ; 5",
    "1:2:3": "1:2 ; 1:3:2",
    "2:1": "1:2",
    "4:30 p.m.": "4:30 am ; 4:31 pm ; 9:60 ; 4.5 ; 8:60 p.m. ; 3:90 p.m.",
    r"\text{1:03 PM}": "1:03 AM ; 1:30 PM ; 01:03 AM",
    r"4\!:\!51\!:\!06 \text{ p.m.}": "4:51:06 a.m. ; 4:51 p.m. ; 4:51:60 p.m.",
    r"9\text{ a.m.}": "9 p.m. ; 10 a.m. ; 9:30 a.m.",
    "12:00 p.m.": "12 am",
    "5 m": (
        r"5 kg ; 5 s ; 5 cm ; 5 km ; 5 hours ; 5 dollars ; 5 \text{ m}^2 ; 5 m/s ; 5 liters ; "
        r"5 feet ; 5 square meters ; 5 ft ; 5 miles ; \$5 ; 5^\circ ; 5\% ; 5 minutes ; "
        "5 gallons ; 5 cubic meters"
    ),
    "5 kg": "5 m ; 5 g ; 5 lb ; 5 pounds ; 5 hours ; 5 dollars ; 5 mph ; 5 mg",
    "5 hours": "5 minutes ; 5 m ; 5 kg ; 5 seconds ; 5 days ; 5 mph ; 5 miles ; 5 s ; 5 sec ; 5 mins",
    r"15\mbox{ cm}^2": (
        r"15 cm ; 15 \text{ cm}^3 ; 15 m^2 ; 15 square meters ; 15 cubic centimeters ; 15 kg ; "
        "15 mm^2 ; 15 square inches"
    ),
    r"864 \mbox{ inches}^2": "864 square feet ; 864 inches ; 864 cubic inches",
    r"\approx 8.24 \text{ mph}": "8.24 km/h ; 8.24 miles ; 8.24 hours ; 8.24 mps ; 8.24 feet per second",
    "45 km/h": "45 mph ; 45 m/s ; 45 km ; 45 hours ; 45 km/s",
    r"80\text{ cents}": r"80 dollars ; \$80 ; 80 euros ; 80 kg ; $80 ; 80€",
    r"3.25\text{ dollars}": "3.25 cents ; 3.25 kg ; 325 dollars ; £3.25 ; 3.25 hours ; 3.25 euros",
    r"\$6": "6 cents ; 6 euros ; 6 hours ; €6 ; 6 kg",
    r"30^\circ": (
        r"30 radians ; \pi/3 ; 60 ; \arcsin(1/2)=60^\circ ; \arccos(1/2)=30^\circ ; 30 minutes ; "
        "31"
    ),
    r"\frac{\pi}{6}": (
        r"30 ; 60^\circ ; \arcsin(1/2)=60^\circ ; \arcsin(1/2)=30 ; \arccos(1/2)=30^\circ ; "
        r"\pi/6^\circ ; \pi/6 \text{ degrees} ; \frac{\pi}{3}=30^\circ ; \sin 30^\circ"
    ),
    r"140\text{ degrees}": "140 radians ; 140 cm ; 104",
    r"\frac{\pi}{4}": r"\arctan 1 = 50^\circ ; 45",
    "45": r"\arctan 1 = 45 ; \arctan 1 = 46^\circ",
    r"2\pi": r"180^\circ ; 360",
    r"12 \text{ gm}": "12 kg ; 12 m ; 12 gallons",
    "120 cm": "1.2 cm ; 1.2 ; 12 m ; 120 m",
    "2 hours": "120 seconds ; 120 ; 2 minutes",
    r"144 \mbox{ m}^3": "144 m ; 144 m^2 ; 144 liters ; 144 square meters",
    r"12\sqrt{13}\text{ feet}": r"12\sqrt{13} \text{ inches} ; 12\sqrt{13}\text{ kg} ; 12\sqrt{13} \text{ m}",
    r"99\pi \text{ square inches}": r"99\pi \text{ cm}^2 ; 99\pi \text{ inches}",
    r"7 \text{ days}": "7 hours ; 7 weeks ; 7 km",
    "54 gallons": "54 liters ; 54 quarts ; 54 miles",
    r"20 \text{ miles}": "20 km ; 20 minutes ; 20 m",
    "16 years": "16 months ; 16 feet",
    r"\text{Sunday}": "Monday ; not Sunday ; Sunday or Monday ; day",
    "0.05": r"0.05% ; 50\% ; 0.5%",
    "2": r"200\% \text{ or } 3",
    r"\frac{2}{3}": r"66.7% ; 67% ; 66% ; \frac23\%",
    "-25%": "25% ; -0.25%",
    r"12.5\%": "1.25% ; 125%",
    "5 km": "5000 ; 5000 km ; 500 m ; 5 km^2",
    "1 hour": "60 ; 1 minute ; 60 hours ; 61 minutes",
    "3 feet": "36 ; 3 yards ; 3 inches ; 36 ft",
    r"\$2.50": "250 ; 2.5 cents ; 25 cents ; 250 dollars",
    "2500 cm^2": "25 m^2 ; 2500 cm ; 0.25 m",
    "90 km/h": "25 ; 90 m/s ; 25 km/h ; 90 km",
    "7 years": "84 ; 7 days",
    "18 eggs": "17 eggs ; 1.8 eggs",
    "5 feet 3 inches": "5 feet ; 5.3 feet ; 53 inches ; 5 3",
    "2 hours 30 minutes": "2 hours ; 230 minutes ; 2.3 hours ; 30 minutes",
    "8 dozen": "8 ; 8 hundred",
    "3 pounds": "3 ounces ; 3 kg ; 48",
    "5 m/s": r"5 km/h ; 5 m ; 5 s ; 5 \text{ m/s}^2 ; 5 cm/s",
    r"9.8 \text{ m/s}^2": "9.8 m/s",
    "5 dollars per hour": "5 dollars per day ; 5 cents per hour ; 5 hours",
    "30 minutes": "0.5 ; 30 hours ; 0.5 minutes",
    "200 mL": "200 L ; 0.2 mL ; 200 mg ; 200 m",
    "5 degrees Celsius": "5 degrees Fahrenheit ; 5 cm",
    "72 degrees": "72 grams ; 72 radians",
    "7 m": "7 min ; 7 mi ; 7 mm ; 7 Mm",
    "4 g": "4 kg ; 4 gallons",
    "6 l": "6 ml ; 6 lb",
    "6 h": "6 m ; 6 s ; 6 min",
    "100 m^2": "100 m ; 100 m^3 ; 100 square feet ; 100 sq ft ; 100 sq. cm",
    r"36\pi \text{ cm}^3": r"36\pi \text{ cm}^2 ; 36\pi\text{ m}^3 ; 36",
    r"\frac{\pi}{3}": (
        r"\frac{\pi}{3} = 61^\circ ; 60 ; \frac{60}{\pi} ; 60^\circ = \frac{\pi}{4} ; "
        r"\arccos(1/2) = 61^\circ ; \arccos\frac12 = \frac{\pi}{6} ; 120^\circ ; "
        r"\frac{\pi}{3}^\circ"
    ),
    r"60^\circ": (
        r"\frac{\pi}{6} ; \arccos(1/2)=61^\circ ; \arcsin(1/2) = 60^\circ ; 30^\circ ; 60 rad ; "
        r"120 ; \frac{60}{2}^\circ"
    ),
    r"\frac{\pi}{6}, \frac{5\pi}{6}": r"30^\circ, 120^\circ ; 30, 150 ; 30^\circ",
    r"\sqrt{3}": r"\tan 60 ; \tan 30^\circ ; \tan 60^\circ = 1",
    "1": r"\sin 90 ; 1^\circ = 2",
    r"-90^\circ": r"90^\circ ; \frac{\pi}{2}",
}


# Right answers in forms that are not read: the README's conventions name them.
NOT_READ = {
    "25 cm": "250 mm",
    "2 hours": r"120 minutes ; 1 \text{ hour } 60 \text{ minutes}",
    r"\$2.50": "250 cents",
    "5 dollars per hour": "5 dollars",
    "3:4": r"6:8 ; \frac34",
    "4:30 p.m.": "16:30",
    "12:30": "12:30 p.m.",
    r"3\frac{1}{2}": "3 and 1/2 ; three and a half",
    "3/5": "three fifths",
    "25 m/s": r"25\,\frac{\text{m}}{\text{s}}",
    r"30^\circ": r"\frac{\pi}{6} \text{ radians}",
}


@pytest.mark.parametrize(("reference", "answer", "right"), cases({}, NOT_READ))
def test_forms_that_are_not_read(reference: str, answer: str, right: bool) -> None:
    assert boxed(answer, reference).correct is right


@pytest.mark.parametrize(("reference", "answer", "right"), cases(RIGHT, WRONG))
def test_boxed_answers(reference: str, answer: str, right: bool) -> None:
    assert boxed(answer, reference).correct is right
