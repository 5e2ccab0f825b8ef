"""The lessons: content as data, and questions whose answers are computed from geometry and tensors."""

from __future__ import annotations

from .course import Course, Lesson, Step, load_lessons, parse_lessons
from .question import Grade, Question, Scene, grade

__all__ = ["Course", "Grade", "Lesson", "Question", "Scene", "Step", "grade", "load_lessons", "parse_lessons"]
